//! XML: the root's children are a lead's fields, what is deeper is reached by pointers.
//!
//! An element that holds only text is that text; its attributes stand beside it as `Name@attribute`. One that holds
//! elements is an object, with its attributes among them. One that comes again is numbered where it is text and the
//! root's child, as in forms, and else makes a list. Prefixes of namespaces are dropped. No entity is ever expanded but
//! the five of XML itself and characters by number, and a document type is refused: nothing grows.

use std::borrow::Cow;

use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use simd_json::BorrowedValue;
use simd_json::borrowed::Object;

use crate::form::MAX_FIELDS;
use crate::refusal::Refusal;

/// Deepest nesting.
const MAX_DEPTH: usize = 30;

/// An element that is not closed yet.
#[derive(Default)]
struct Element<'b> {
    name: String,
    attributes: Vec<(String, String)>,
    children: Object<'b>,
    text: String,
}

/// The lead that an XML document is. `max_values` bounds its elements and attributes.
pub(crate) fn lead<'b>(text: &str, max_values: usize) -> Result<BorrowedValue<'b>, Refusal> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().allow_dangling_amp = true;
    let mut open: Vec<Element<'_>> = Vec::new();
    let mut root = None;
    let mut values = 0;
    let broken = |message: &str, position: u64| Refusal::Xml { message: message.to_owned(), position };
    loop {
        let at = reader.buffer_position();
        let event = reader.read_event().map_err(|error| broken(&in_words(&error), reader.error_position()))?;
        let closed = match event {
            Event::Start(start) | Event::Empty(start) if root.is_some() => {
                drop(start);
                return Err(broken("there is more than one root element", at));
            }
            Event::Start(start) => {
                open.push(begin(&start, &mut values).map_err(|message| broken(&message, at))?);
                None
            }
            Event::Empty(start) => Some(begin(&start, &mut values).map_err(|message| broken(&message, at))?),
            Event::End(_) => open.pop(),
            Event::Text(text) => {
                add_text(&mut open, text.xml_content(XmlVersion::Implicit1_0).unwrap_or_default());
                None
            }
            Event::CData(text) => {
                add_text(&mut open, text.xml_content(XmlVersion::Implicit1_0).unwrap_or_default());
                None
            }
            Event::GeneralRef(reference) => {
                add_text(&mut open, resolve(&reference));
                None
            }
            Event::DocType(_) => return Err(broken("a document type (DOCTYPE) is not read", at)),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => None,
            Event::Eof => break,
        };
        if values > max_values {
            return Err(Refusal::TooManyValues { limit: max_values });
        }
        if open.len() > MAX_DEPTH {
            return Err(broken(&format!("elements are nested more than {MAX_DEPTH} deep"), at));
        }
        match (closed, open.len()) {
            (None, _) => {}
            (Some(element), 0) => root = Some(element),
            (Some(element), depth) => {
                if let Some(parent) = open.last_mut() {
                    parent.adopt(element, depth == 1)?;
                }
            }
        }
    }
    match root {
        Some(root) if open.is_empty() => root.into_lead(),
        Some(_) | None if open.is_empty() => Err(broken("there is no root element", reader.buffer_position())),
        _ => Err(broken("an element is not closed", reader.buffer_position())),
    }
}

fn begin<'b>(start: &BytesStart<'_>, values: &mut usize) -> Result<Element<'b>, String> {
    let mut element = Element { name: local(start.local_name().into_inner()), ..Element::default() };
    *values += 1;
    // Duplicates are looked for in a time that grows with their square; the first one stays.
    for attribute in start.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| "an attribute cannot be read".to_owned())?;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        *values += 1;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_or_else(|_| String::from_utf8_lossy(&attribute.value).into_owned(), Cow::into_owned);
        element.attributes.push((local(attribute.key.local_name().into_inner()), value));
    }
    Ok(element)
}

fn local(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn add_text(open: &mut [Element<'_>], text: Cow<'_, str>) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(&text);
    }
}

/// The character that a reference stands for; one that XML does not know is left as it was written.
fn resolve<'r>(reference: &'r BytesRef<'_>) -> Cow<'r, str> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Cow::Owned(character.to_string());
    }
    let name = reference.decode().unwrap_or_default();
    match resolve_predefined_entity(&name) {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(format!("&{name};")),
    }
}

/// What is wrong, without what was sent.
fn in_words(error: &quick_xml::Error) -> String {
    let words = match error {
        quick_xml::Error::IllFormed(_) => "its elements are not well nested, or a reference is not ended",
        quick_xml::Error::Syntax(_) => "a tag, comment or section is not ended",
        quick_xml::Error::InvalidAttr(_) => "an attribute cannot be read",
        quick_xml::Error::Escape(_) => "a reference cannot be read",
        _ => "it cannot be read",
    };
    words.to_owned()
}

impl<'b> Element<'b> {
    /// Takes in a child that is complete.
    fn adopt(&mut self, child: Self, is_root: bool) -> Result<(), Refusal> {
        let Self { name, attributes, mut children, text } = child;
        let text = text.trim().to_owned();
        if children.is_empty() && (!text.is_empty() || attributes.is_empty()) {
            let beside = attributes.into_iter().map(|(attribute, value)| (format!("{name}@{attribute}"), value));
            let texts: Vec<_> = std::iter::once((name.clone(), text)).chain(beside).collect();
            return texts
                .into_iter()
                .try_for_each(|(name, text)| self.add(name, BorrowedValue::String(text.into()), is_root));
        }
        for (attribute, value) in attributes {
            children.entry(attribute.into()).or_insert_with(|| BorrowedValue::String(value.into()));
        }
        if !text.is_empty() {
            children.insert("#text".into(), BorrowedValue::String(text.into()));
        }
        self.add(name, BorrowedValue::Object(Box::new(children)), false)
    }

    fn add(&mut self, name: String, value: BorrowedValue<'b>, numbered: bool) -> Result<(), Refusal> {
        // Numbers are looked for one by one: only among as many as a lead may have.
        if numbered && self.children.len() >= MAX_FIELDS {
            return Err(Refusal::TooManyFields { limit: MAX_FIELDS });
        }
        let Some(present) = self.children.get_mut(name.as_str()) else {
            self.children.insert(name.into(), value);
            return Ok(());
        };
        if numbered {
            let free = (2..).map(|n| format!("{name}_{n}")).find(|name| !self.children.contains_key(name.as_str()));
            self.children.insert(free.unwrap_or(name).into(), value);
            return Ok(());
        }
        match present {
            BorrowedValue::Array(list) => list.push(value),
            single => *single = BorrowedValue::Array(Box::new(vec![std::mem::take(single), value])),
        }
        Ok(())
    }

    /// The root as a lead; its attributes are fields as well.
    fn into_lead(self) -> Result<BorrowedValue<'b>, Refusal> {
        let mut fields = self.children;
        for (attribute, value) in self.attributes {
            fields.entry(attribute.into()).or_insert_with(|| BorrowedValue::String(value.into()));
        }
        if fields.is_empty() { Err(Refusal::NoLead) } else { Ok(BorrowedValue::Object(Box::new(fields))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Result<Value, String> {
        let lead = lead(text, 200).map_err(|refusal| format!("{refusal:?}"))?;
        Ok(leadway_domain::intake::to_owned_json(&lead))
    }

    #[test]
    fn the_roots_children_are_fields() {
        for (text, expected) in [
            ("<Lead><Name>Pat</Name><Zip> 90210 </Zip></Lead>", json!({"Name": "Pat", "Zip": "90210"})),
            ("<?xml version=\"1.0\"?>\n<!-- x --><a><b/><c></c></a>\n", json!({"b": "", "c": ""})),
            ("<a><n>A &amp; B &#233;&#xe9; &eacute; & c</n></a>", json!({"n": "A & B éé &eacute; & c"})),
            ("<a><n><![CDATA[<b> & ]]>x</n></a>", json!({"n": "<b> & x"})),
            ("<x:a xmlns:x=\"urn:x\"><x:b>1</x:b></x:a>", json!({"b": "1"})),
            ("<a><p>1</p><p>2</p><p>3</p></a>", json!({"p": "1", "p_2": "2", "p_3": "3"})),
            ("<a><p type=\"home\">1</p></a>", json!({"p": "1", "p@type": "home"})),
            ("<lead phone='1' zip=\"2\"/>", json!({"phone": "1", "zip": "2"})),
            ("<a id='7'><b>1</b></a>", json!({"id": "7", "b": "1"})),
            ("<a><c><p>1</p><p>2</p></c></a>", json!({"c": {"p": ["1", "2"]}})),
            (
                "<a><q n='1'><t>x</t></q><q n='2'><t>y</t></q></a>",
                json!({"q": [{"n": "1", "t": "x"}, {"n": "2", "t": "y"}]}),
            ),
            ("<a><f name='Zip' value='90210'/></a>", json!({"f": {"name": "Zip", "value": "90210"}})),
            ("<a><n>call <b>late</b> please</n></a>", json!({"n": {"b": "late", "#text": "call  please"}})),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_xml_or_could_grow_is_refused_without_repeating_it() {
        let deep = "<a>".repeat(40) + &"</a>".repeat(40);
        let bomb = "<!DOCTYPE a [<!ENTITY x \"secret\"><!ENTITY y \"&x;&x;\">]><a><b>&y;</b></a>";
        let many = format!("<a>{}</a>", "<b><c/></b>".repeat(150));
        let flat = format!("<a>{}</a>", "<b/>".repeat(301));
        for (text, part) in [
            ("<a><b>secret</a>", "nested"),
            ("<a><b>secret", "not closed"),
            ("<a></a><b></b>", "more than one"),
            ("<a", "not ended"),
            ("<!-- secret -->", "no root"),
            ("<a b=secret></a>", "attribute"),
            (bomb, "DOCTYPE"),
            (&*deep, "deep"),
            (&*many, "TooManyValues"),
            ("<a></a>", "NoLead"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(part) && !told.contains("secret"), "{text:.60}: {told}");
        }
        assert!(matches!(lead(&flat, 1_000), Err(Refusal::TooManyFields { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(<a>|</a>|<b c='|'>|<|>|&#|;|x|<!\\[CDATA\\[|\\]\\]>|<!--|-->|<\\?|/>){0,20}") {
            drop(lead(&text, 50));
        }
    }
}
