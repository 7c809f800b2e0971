//! From a body to the leads in it.

use std::cell::RefCell;

use simd_json::borrowed::to_value_with_buffers;
use simd_json::{BorrowedValue, Buffers};
use smallvec::smallvec;

use crate::form::Form;
use crate::head::{Format, Written};
use crate::json_error::JsonError;
use crate::many::Many;
use crate::mend;
use crate::refusal::Refusal;
use crate::{values, xml};

/// How far into a body the name of a form's first field is looked for.
const FIRST_NAME: usize = 200;

/// The leads of one request as they were written.
pub(crate) struct Posted<'b> {
    /// In their order. Only a line of NDJSON can be unreadable without the rest being so.
    pub(crate) leads: Many<Result<BorrowedValue<'b>, JsonError>>,
    /// One lead on its own, to be answered on its own.
    pub(crate) single: bool,
}

impl<'b> Posted<'b> {
    fn one(lead: BorrowedValue<'b>) -> Self {
        Self { leads: smallvec![Ok(lead)], single: true }
    }
}

/// Most of what one request may bring.
#[derive(Clone, Copy)]
pub(crate) struct Most {
    pub(crate) leads: usize,
    /// Values, lists and objects.
    pub(crate) values: usize,
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
    written: &Written,
    text: &'b str,
    desk: &'b mut Desk,
    most: Most,
) -> Result<Posted<'b>, Refusal> {
    let trimmed = text.trim_ascii();
    if trimmed.is_empty() {
        return Err(Refusal::NoLead);
    }
    match format(written.format, trimmed) {
        Format::Json => json(text.as_bytes(), desk, most),
        Format::Lines => lines(text.as_bytes(), desk, most),
        Format::Form => Form::urlencoded(trimmed)?.into_lead().map(Posted::one),
        Format::Multipart => Form::multipart(trimmed, written.boundary.as_deref())?.into_lead().map(Posted::one),
        Format::Xml => xml::lead(trimmed, most.values).map(Posted::one),
        Format::Unsaid => Err(Refusal::UnsupportedType),
    }
}

/// What a body is. Its first character says so more reliably than many senders do; where it does not, `said` counts.
fn format(said: Format, text: &str) -> Format {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(b'{' | b'['), _) if said == Format::Lines => Format::Lines,
        (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) => Format::Json,
        (Some(b'{' | b'['), _) if said != Format::Form => Format::Json,
        (Some(b'<'), _) => Format::Xml,
        (Some(b'-'), _) if text.starts_with("--") => Format::Multipart,
        _ if matches!(said, Format::Unsaid | Format::Json | Format::Xml) && looks_like_form(bytes) => Format::Form,
        _ => said,
    }
}

/// Whether it begins with a name and an equals sign.
fn looks_like_form(text: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.[]%+".contains(byte);
    let start = text.get(..FIRST_NAME).unwrap_or(text);
    let length = start.iter().take_while(|byte| is_of_name(byte)).count();
    length > 0 && start.get(length) == Some(&b'=')
}

fn json<'b>(body: &[u8], desk: &'b mut Desk, most: Most) -> Result<Posted<'b>, Refusal> {
    values::check(body, most.values)?;
    let Desk { copy, buffers } = desk;
    body.clone_into(copy);
    match value(body, copy, buffers)? {
        BorrowedValue::Array(leads) if leads.is_empty() => Err(Refusal::NoLead),
        BorrowedValue::Array(leads) if leads.len() > most.leads => Err(Refusal::TooManyLeads { limit: most.leads }),
        BorrowedValue::Array(leads) => Ok(Posted { leads: leads.into_iter().map(Ok).collect(), single: false }),
        object @ BorrowedValue::Object(_) => Ok(Posted::one(object)),
        BorrowedValue::String(_) | BorrowedValue::Static(_) => Err(Refusal::NotALead),
    }
}

fn value<'b>(text: &[u8], copy: &'b mut [u8], buffers: &mut Buffers) -> Result<BorrowedValue<'b>, JsonError> {
    mend::halves(copy);
    let mut value = to_value_with_buffers(copy, buffers).map_err(|error| JsonError::locate(text, &error))?;
    mend::last_wins(&mut value);
    Ok(value)
}

fn lines<'b>(body: &[u8], desk: &'b mut Desk, most: Most) -> Result<Posted<'b>, Refusal> {
    values::check(body, most.values)?;
    let is_break = |byte: &u8| *byte == b'\n';
    let Desk { copy, buffers } = desk;
    body.clone_into(copy);
    let mut leads = Many::new();
    let mut start = 0;
    for (number, (line, copy)) in body.split(is_break).zip(copy.split_mut(is_break)).enumerate() {
        if !line.trim_ascii().is_empty() {
            if leads.len() == most.leads {
                return Err(Refusal::TooManyLeads { limit: most.leads });
            }
            leads.push(value(line, copy, buffers).map_err(|error| error.moved(number, start)));
        }
        start += line.len() + 1;
    }
    if leads.is_empty() { Err(Refusal::NoLead) } else { Ok(Posted { leads, single: false }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Packing;

    const MOST: Most = Most { leads: 3, values: 40 };

    fn count(format: Format, text: &str) -> Result<(usize, bool), String> {
        let mut desk = Desk::default();
        let written = Written { format, packing: Packing::Plain, charset: None, boundary: None };
        let posted = parse(&written, text, &mut desk, MOST).map_err(|refusal| format!("{refusal:?}"))?;
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
    fn a_body_says_what_it_is_whatever_its_head_says() {
        let all = [Format::Json, Format::Form, Format::Multipart, Format::Xml, Format::Unsaid];
        let multipart = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--XX--\r\n";
        for text in [r#"{"a":1}"#, " \n{\"a\":1} ", "<a><b>1</b></a>", multipart] {
            for said in all {
                assert_eq!(count(said, text), Ok((1, true)), "{said:?} {text}");
            }
        }
        for said in [Format::Json, Format::Form, Format::Xml, Format::Unsaid] {
            for text in ["a=1", "fields[name][value]=1&b=2", "a%5Bb%5D=1"] {
                assert_eq!(count(said, text), Ok((1, true)), "{said:?} {text}");
            }
        }
        assert_eq!(count(Format::Form, "[a]=1&b=2"), Ok((1, true)), "a form that begins like a list");
    }

    #[test]
    fn too_many_and_none_are_refused() {
        let many = format!("[{}]", "1,".repeat(50));
        for (format, text, refusal) in [
            (Format::Json, "[1,2,3,4]", "TooManyLeads"),
            (Format::Json, &*many, "TooManyValues"),
            (Format::Lines, &*many, "TooManyValues"),
            (Format::Lines, "{}\n{}\n{}\n{}", "TooManyLeads"),
            (Format::Json, "[]", "NoLead"),
            (Format::Json, "", "NoLead"),
            (Format::Lines, "\n \n", "NoLead"),
            (Format::Form, "", "NoLead"),
            (Format::Unsaid, " ", "NoLead"),
            (Format::Json, "7", "NotALead"),
            (Format::Json, "{\"a\":1}\n{\"a\":2}", "Json"),
            (Format::Json, "a 1", "Json"),
            (Format::Unsaid, "Hello, this is no lead = 1", "UnsupportedType"),
            (Format::Unsaid, "=1", "UnsupportedType"),
        ] {
            let told = count(format, text).unwrap_err();
            assert!(told.starts_with(refusal), "{text}: {told}");
        }
    }

    #[test]
    fn a_broken_line_leaves_the_others_and_is_told_by_its_place_in_the_body() {
        let text = "{\"a\":1}\n{\"a\":}\n{\"a\":3}";
        let mut desk = Desk::default();
        let posted = lines(text.as_bytes(), &mut desk, MOST).map_err(drop).unwrap();
        let error = posted.leads[1].as_ref().unwrap_err();
        assert_eq!((error.line, error.column, error.position), (2, 6, 13));
        assert!(posted.leads[0].is_ok() && posted.leads[2].is_ok());
    }
}
