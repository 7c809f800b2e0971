//! Pointers into what was posted.
//!
//! A pointer is that of RFC 6901, with two additions for what form builders send. `[name=value]` selects the member of a
//! list (or object) whose neighbour `name` says `value`: `/user_column_data/[column_id=PHONE_NUMBER]/string_value`; a
//! deeper neighbour is written with dots, `[field.ref=phone]`. And a text that holds JSON is entered like JSON.

use std::borrow::Cow;

use simd_json::borrowed::Object;
use simd_json::{BorrowedValue, StaticNode};

use crate::settings::fold_name;

/// What stands at a place.
pub(super) enum Sent<'v> {
    /// A text or a number, never blank.
    Text(Cow<'v, str>),
    /// Nothing, or an empty text, list or object.
    Nothing,
    /// A list or an object, which is no value of a field.
    Shape,
}

impl<'v> Sent<'v> {
    /// Reads a value. A list of one is what it holds.
    pub(super) fn of(value: &'v BorrowedValue<'v>) -> Self {
        match value {
            BorrowedValue::Array(items) => match items.as_slice() {
                [] => Self::Nothing,
                [BorrowedValue::Array(_) | BorrowedValue::Object(_)] => Self::Shape,
                [one] => Self::of(one),
                _ => Self::Shape,
            },
            BorrowedValue::Object(object) if object.is_empty() => Self::Nothing,
            BorrowedValue::Object(_) => Self::Shape,
            BorrowedValue::String(text) if text.trim().is_empty() => Self::Nothing,
            BorrowedValue::String(text) => Self::Text(Cow::Borrowed(text.trim())),
            BorrowedValue::Static(StaticNode::Null) => Self::Nothing,
            // Spreadsheets and loosely typed languages make floats of all numbers.
            BorrowedValue::Static(StaticNode::F64(n)) if n.fract() == 0.0 && n.abs() < 1e15 => {
                Self::Text(Cow::Owned(format!("{n:.0}")))
            }
            BorrowedValue::Static(node) => Self::Text(Cow::Owned(node.to_string())),
        }
    }

    fn into_owned<'any>(self) -> Sent<'any> {
        match self {
            Self::Text(text) => Sent::Text(Cow::Owned(text.into_owned())),
            Self::Nothing => Sent::Nothing,
            Self::Shape => Sent::Shape,
        }
    }
}

/// Follows pointers into one posted lead.
pub(super) struct Pointers<'v> {
    root: &'v BorrowedValue<'v>,
    /// Texts that hold JSON, each read once.
    opened: Vec<(&'v str, Option<BorrowedValue<'static>>)>,
}

/// Where following a pointer ends.
enum End<'a, 'v> {
    At(&'a BorrowedValue<'v>),
    /// At a text that may hold JSON, with the rest of the pointer.
    In(&'a str, &'a str),
    Nowhere,
}

impl<'v> Pointers<'v> {
    pub(super) fn new(root: &'v BorrowedValue<'v>) -> Self {
        Self { root, opened: Vec::new() }
    }

    /// What stands at `path`.
    pub(super) fn find(&mut self, path: &'v str) -> Sent<'v> {
        match follow(self.root, path) {
            End::At(value) => Sent::of(value),
            End::Nowhere => Sent::Nothing,
            End::In(text, rest) => match self.open(text).map(|inner| follow(inner, rest)) {
                Some(End::At(value)) => Sent::of(value).into_owned(),
                _ => Sent::Nothing,
            },
        }
    }

    fn open(&mut self, text: &'v str) -> Option<&BorrowedValue<'static>> {
        let known = self.opened.iter().position(|(opened, _)| std::ptr::eq(*opened, text));
        let place = known.unwrap_or_else(|| {
            let mut bytes = text.as_bytes().to_vec();
            let inner = simd_json::to_borrowed_value(&mut bytes).ok().map(BorrowedValue::into_static);
            self.opened.push((text, inner));
            self.opened.len() - 1
        });
        self.opened.get(place)?.1.as_ref()
    }
}

fn follow<'a, 'v>(root: &'a BorrowedValue<'v>, path: &'a str) -> End<'a, 'v> {
    let (mut value, mut rest) = (root, path);
    while let Some(path) = rest.strip_prefix('/') {
        let (token, after) = path.split_at(path.find('/').unwrap_or(path.len()));
        let token = unescaped(token);
        let found = match value {
            BorrowedValue::Object(object) => object.get(&*token).or_else(|| select(value, &token)),
            BorrowedValue::Array(items) => match token.parse::<usize>() {
                Ok(index) => items.get(index),
                Err(_) => select(value, &token),
            },
            BorrowedValue::String(text) if text.trim_start().starts_with(['{', '[']) => return End::In(text, rest),
            _ => None,
        };
        let Some(found) = found else { return End::Nowhere };
        (value, rest) = (found, after);
    }
    End::At(value)
}

fn unescaped(token: &str) -> Cow<'_, str> {
    match token.contains('~') {
        true => Cow::Owned(token.replace("~1", "/").replace("~0", "~")),
        false => Cow::Borrowed(token),
    }
}

/// The parts of `[name=value]`.
fn selector(token: &str) -> Option<(&str, &str)> {
    let (name, value) = token.strip_prefix('[')?.strip_suffix(']')?.split_once('=')?;
    let quoted = |mark| value.strip_prefix(mark).and_then(|v: &str| v.strip_suffix(mark));
    Some((name.trim(), quoted('"').or_else(|| quoted('\'')).unwrap_or(value.trim())))
}

/// Whether each selector of a pointer is whole.
pub(super) fn has_whole_selectors(path: &str) -> bool {
    path.split('/').all(|token| !token.starts_with('[') || selector(token).is_some_and(|(name, _)| !name.is_empty()))
}

/// The member that the selector `token` means: the one whose neighbour says exactly so, else the first that says so in
/// another case, spacing and punctuation.
fn select<'a, 'v>(list: &'a BorrowedValue<'v>, token: &str) -> Option<&'a BorrowedValue<'v>> {
    let (name, wanted) = selector(token)?;
    let members: Vec<&BorrowedValue<'v>> = match list {
        BorrowedValue::Array(items) => items.iter().collect(),
        BorrowedValue::Object(object) => by_name(object).into_iter().map(|(_, member)| member).collect(),
        _ => return None,
    };
    let said = |member: &'a BorrowedValue<'v>| match neighbour(member, name).map(Sent::of) {
        Some(Sent::Text(text)) => Some(text),
        _ => None,
    };
    let exactly = members.iter().find(|member| said(member).is_some_and(|text| text == wanted));
    exactly
        .or_else(|| {
            let wanted = Some(fold_name(wanted)).filter(|folded| !folded.is_empty())?;
            members.iter().find(|member| said(member).is_some_and(|text| fold_name(&text) == wanted))
        })
        .copied()
}

fn neighbour<'a, 'v>(member: &'a BorrowedValue<'v>, name: &str) -> Option<&'a BorrowedValue<'v>> {
    let get = |value: &'a BorrowedValue<'v>, name: &str| match value {
        BorrowedValue::Object(object) => object.get(name),
        _ => None,
    };
    get(member, name).or_else(|| name.split('.').try_fold(member, get))
}

/// The members of an object in an order that is the same every time: large objects have none of their own.
fn by_name<'a, 'v>(object: &'a Object<'v>) -> Vec<(&'a str, &'a BorrowedValue<'v>)> {
    let mut pairs: Vec<_> = object.iter().map(|(name, value)| (&**name, value)).collect();
    pairs.sort_unstable_by_key(|(name, _)| *name);
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, path: &str) -> Option<String> {
        let mut bytes = json.as_bytes().to_vec();
        let root = simd_json::to_borrowed_value(&mut bytes).unwrap();
        match Pointers::new(&root).find(path) {
            Sent::Text(text) => Some(text.into_owned()),
            Sent::Nothing => None,
            Sent::Shape => Some("shape".into()),
        }
    }

    #[test]
    fn pointers_lead_into_lists_objects_and_texts() {
        let google = r#"{"cols":[{"id":"ZIP","v":"90210"},{"id":"PHONE","v":["213"]},{"q":"Size (>10)?","v":3.0},{"n":5,"v":"five"}]}"#;
        let typeform = r#"{"answers":[{"field":{"ref":"a"},"text":"x"},{"field":{"ref":"b"},"text":"y"}]}"#;
        let jotform = r#"{"raw":"{\"q3\":{\"full\":\"(213)\"},\"l\":[\"a\"]}","keyed":{"f2":{"id":"tel","v":"2"},"f1":{"id":"x","v":"1"}}}"#;
        for (json, path, found) in [
            (google, "/cols/0/v", Some("90210")),
            (google, "/cols/[id=PHONE]/v", Some("213")),
            (google, "/cols/[id=phone]/v", Some("213")),
            (google, "/cols/[id=\"ZIP\"]/v", Some("90210")),
            (google, "/cols/[q=Size (>10)?]/v", Some("3")),
            (google, "/cols/[n=5]/v", Some("five")),
            (google, "/cols/[id=NAME]/v", None),
            (google, "/cols/[id=]/v", None),
            (google, "/cols/0", Some("shape")),
            (google, "/cols/-1", None),
            (typeform, "/answers/[field.ref=b]/text", Some("y")),
            (jotform, "/raw/q3/full", Some("(213)")),
            (jotform, "/raw/l", Some("a")),
            (jotform, "/raw/l/0/x", None),
            (jotform, "/keyed/[id=tel]/v", Some("2")),
            (r#"{"a/b":{"~":"t"}}"#, "/a~1b/~0", Some("t")),
            (r#"{"[x=1]":"plain"}"#, "/[x=1]", Some("plain")),
            (r#"{"a":"{broken"}"#, "/a/b", None),
            (r#"{"a":[[["deep"]]]}"#, "/a", Some("shape")),
            (r#"{"a":[null]}"#, "/a", None),
        ] {
            assert_eq!(find(json, path).as_deref(), found, "{path} in {json}");
        }
    }

    #[test]
    fn a_selector_has_a_name() {
        for path in ["/a/[b=c]/d", "/a/b", "/a/[b=]", "/a/[b=x~1y]"] {
            assert!(has_whole_selectors(path), "{path}");
        }
        for path in ["/a/[b]", "/a/[b=x/y]", "/a/[=x]", "/a/[b=c"] {
            assert!(!has_whole_selectors(path), "{path}");
        }
    }
}
