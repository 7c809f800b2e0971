//! From a body to the leads in it.

use std::borrow::Cow;
use std::cell::RefCell;

use simd_json::borrowed::{Object, to_value_with_buffers};
use simd_json::{BorrowedValue, Buffers};
use smallvec::smallvec;

use crate::head::Format;
use crate::json_error::JsonError;
use crate::many::Many;
use crate::mend;
use crate::refusal::Refusal;

/// Most fields of a form.
const MAX_FORM_FIELDS: usize = 300;

/// The leads of one request as they were written.
pub(crate) struct Posted<'b> {
    /// In their order. Only a line of NDJSON can be unreadable without the rest being so.
    pub(crate) leads: Many<Result<BorrowedValue<'b>, JsonError>>,
    /// One lead on its own, to be answered on its own.
    pub(crate) single: bool,
}

/// What reading needs room for, kept from one request to the next.
#[derive(Default)]
pub(crate) struct Desk {
    /// A copy of the body, in which strings are unescaped in place.
    copy: Vec<u8>,
    buffers: Buffers,
}

/// What is kept between requests takes about so many bytes at most.
const KEPT: usize = 64 << 10;

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// Lends this thread's desk.
pub(crate) fn at_desk<R>(read: impl FnOnce(&mut Desk) -> R) -> R {
    DESK.with_borrow_mut(|desk| {
        let read = read(desk);
        if desk.copy.capacity() > KEPT {
            *desk = Desk::default();
        }
        read
    })
}

/// Reads the leads.
pub(crate) fn parse<'b>(
    format: Format,
    body: &'b [u8],
    desk: &'b mut Desk,
    max_leads: usize,
) -> Result<Posted<'b>, Refusal> {
    match format {
        Format::Json => json(body, desk, max_leads),
        Format::Lines => lines(body, desk, max_leads),
        Format::Form => form(body),
        Format::Unsaid if looks_like_json(body) => json(body, desk, max_leads),
        Format::Unsaid if body.trim_ascii().is_empty() => Err(Refusal::NoLead),
        Format::Unsaid => Err(Refusal::UnsupportedType),
    }
}

/// Without the byte order mark that some systems put in front.
pub(crate) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn looks_like_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn json<'b>(body: &[u8], desk: &'b mut Desk, max_leads: usize) -> Result<Posted<'b>, Refusal> {
    if body.trim_ascii().is_empty() {
        return Err(Refusal::NoLead);
    }
    let Desk { copy, buffers } = desk;
    body.clone_into(copy);
    match value(body, copy, buffers)? {
        BorrowedValue::Array(leads) if leads.is_empty() => Err(Refusal::NoLead),
        BorrowedValue::Array(leads) if leads.len() > max_leads => Err(Refusal::TooManyLeads { limit: max_leads }),
        BorrowedValue::Array(leads) => Ok(Posted { leads: leads.into_iter().map(Ok).collect(), single: false }),
        object @ BorrowedValue::Object(_) => Ok(Posted { leads: smallvec![Ok(object)], single: true }),
        BorrowedValue::String(_) | BorrowedValue::Static(_) => Err(Refusal::NotALead),
    }
}

fn value<'b>(text: &[u8], copy: &'b mut [u8], buffers: &mut Buffers) -> Result<BorrowedValue<'b>, JsonError> {
    mend::halves(copy);
    let mut value = to_value_with_buffers(copy, buffers).map_err(|error| JsonError::locate(text, &error))?;
    mend::last_wins(&mut value);
    Ok(value)
}

fn lines<'b>(body: &[u8], desk: &'b mut Desk, max_leads: usize) -> Result<Posted<'b>, Refusal> {
    let is_break = |byte: &u8| *byte == b'\n';
    let Desk { copy, buffers } = desk;
    body.clone_into(copy);
    let mut leads = Many::new();
    let mut start = 0;
    for (number, (line, copy)) in body.split(is_break).zip(copy.split_mut(is_break)).enumerate() {
        if !line.trim_ascii().is_empty() {
            if leads.len() == max_leads {
                return Err(Refusal::TooManyLeads { limit: max_leads });
            }
            leads.push(value(line, copy, buffers).map_err(|error| error.moved(number, start)));
        }
        start += line.len() + 1;
    }
    if leads.is_empty() { Err(Refusal::NoLead) } else { Ok(Posted { leads, single: false }) }
}

fn form(body: &[u8]) -> Result<Posted<'_>, Refusal> {
    let mut object = Object::default();
    for (count, (name, value)) in form_urlencoded::parse(body.trim_ascii()).enumerate() {
        if count == MAX_FORM_FIELDS {
            return Err(Refusal::TooManyFields { limit: MAX_FORM_FIELDS });
        }
        let name = free_name(&object, name);
        object.insert(name, BorrowedValue::String(value));
    }
    if object.is_empty() {
        return Err(Refusal::NoLead);
    }
    Ok(Posted { leads: smallvec![Ok(BorrowedValue::Object(Box::new(object)))], single: true })
}

/// A name that comes again is numbered, so that nothing sent is dropped: `roof`, `roof_2`, `roof_3`.
fn free_name<'b>(object: &Object<'b>, name: Cow<'b, str>) -> Cow<'b, str> {
    if !object.contains_key(&name) {
        return name;
    }
    let mut numbered = (2..).map(|n| Cow::Owned(format!("{name}_{n}")));
    numbered.find(|candidate| !object.contains_key(candidate)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(format: Format, text: &str) -> Result<(usize, bool), String> {
        let mut desk = Desk::default();
        let posted = parse(format, text.as_bytes(), &mut desk, 3).map_err(|refusal| format!("{refusal:?}"))?;
        Ok((posted.leads.len(), posted.single))
    }

    #[test]
    fn each_format_gives_its_leads() {
        assert_eq!(count(Format::Json, r#" {"a":1}"#), Ok((1, true)));
        assert_eq!(count(Format::Json, r#"[{"a":1}]"#), Ok((1, false)));
        assert_eq!(count(Format::Lines, "{\"a\":1}\r\n\n{\"a\":2}"), Ok((2, false)));
        assert_eq!(count(Format::Form, "a=1&b=2"), Ok((1, true)));
        assert_eq!(count(Format::Unsaid, "\n[{},{}]"), Ok((2, false)));
    }

    #[test]
    fn too_many_and_none_are_refused() {
        for (format, text, refusal) in [
            (Format::Json, "[1,2,3,4]", "TooManyLeads"),
            (Format::Lines, "{}\n{}\n{}\n{}", "TooManyLeads"),
            (Format::Json, "[]", "NoLead"),
            (Format::Json, "", "NoLead"),
            (Format::Lines, "\n \n", "NoLead"),
            (Format::Form, "", "NoLead"),
            (Format::Unsaid, " ", "NoLead"),
            (Format::Json, "7", "NotALead"),
            (Format::Json, "{\"a\":1}\n{\"a\":2}", "Json"),
            (Format::Unsaid, "a=1", "UnsupportedType"),
        ] {
            let told = count(format, text).unwrap_err();
            assert!(told.starts_with(refusal), "{text}: {told}");
        }
    }

    #[test]
    fn a_broken_line_leaves_the_others_and_is_told_by_its_place_in_the_body() {
        let text = "{\"a\":1}\n{\"a\":}\n{\"a\":3}";
        let mut desk = Desk::default();
        let posted = parse(Format::Lines, text.as_bytes(), &mut desk, 3).map_err(drop).unwrap();
        let error = posted.leads[1].as_ref().unwrap_err();
        assert_eq!((error.line, error.column, error.position), (2, 6, 13));
        assert!(posted.leads[0].is_ok() && posted.leads[2].is_ok());
    }

    #[test]
    fn a_form_field_that_comes_again_is_kept_under_a_number() {
        let Ok(posted) = form(b"roof=a&roof=b&roof_2=c&roof=d") else { panic!("it is a form") };
        let BorrowedValue::Object(object) = posted.leads[0].as_ref().unwrap() else { panic!("it is an object") };
        let mut fields: Vec<_> = object.iter().map(|(k, v)| format!("{k}={v}")).collect();
        fields.sort();
        assert_eq!(
            fields,
            ["roof=\"a\"", "roof_2=\"b\"", "roof_2_2=\"c\"", "roof_3=\"d\""].map(|s| s.replace('"', ""))
        );
    }
}
