//! Forms: `application/x-www-form-urlencoded`, the query of a GET, `multipart/form-data`. One form is one lead.

use std::borrow::Cow;

use bytes::Bytes;
use futures::FutureExt as _;
use percent_encoding::percent_decode;
use simd_json::BorrowedValue;
use simd_json::borrowed::Object;

use crate::charset;
use crate::refusal::Refusal;

/// Most fields of a form.
pub(crate) const MAX_FIELDS: usize = 300;

const NO_BOUNDARY: &str = "its parts cannot be told apart by the boundary of its Content-Type";

/// The fields of a form that is read.
#[derive(Default)]
pub(crate) struct Form<'b>(Object<'b>);

impl<'b> Form<'b> {
    /// Reads `name=value&…`.
    pub(crate) fn urlencoded(text: &'b str) -> Result<Self, Refusal> {
        let mut form = Self::default();
        let pairs = text.trim_ascii().split('&').filter(|pair| !pair.is_empty());
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            form.add(decode(name), decode(value))?;
        }
        Ok(form)
    }

    /// Reads the parts of a `multipart/form-data`. Of a file only the name is kept.
    pub(crate) fn multipart(text: &'b str, boundary: Option<&str>) -> Result<Self, Refusal> {
        let boundary = match boundary {
            Some(boundary) => boundary,
            None => text.lines().find_map(|line| line.strip_prefix("--")).map(str::trim_end).unwrap_or_default(),
        };
        if boundary.is_empty() {
            return Err(Refusal::Multipart("its Content-Type names no boundary".to_owned()));
        }
        // What writes such bodies by hand often ends lines with LF alone, or forgets the end.
        if !text.contains(&format!("--{boundary}")) {
            return Err(Refusal::Multipart(NO_BOUNDARY.to_owned()));
        }
        let mut body = if text.contains("\r\n") { text.to_owned() } else { text.replace('\n', "\r\n") };
        if !body.contains(&format!("--{boundary}--")) {
            body.truncate(body.trim_end().len());
            body.push_str(&format!("\r\n--{boundary}--\r\n"));
        }
        // All of it is there: what reads it never has to wait.
        let read = parts(Bytes::from(body), boundary).now_or_never();
        read.unwrap_or_else(|| Err(Refusal::Multipart("it ends too early".to_owned())))
    }

    /// Adds a field. A name that comes again is numbered, so that nothing sent is dropped: `roof`, `roof_2`, `roof_3`.
    pub(crate) fn add(&mut self, name: Cow<'b, str>, value: Cow<'b, str>) -> Result<(), Refusal> {
        if self.0.len() == MAX_FIELDS {
            return Err(Refusal::TooManyFields { limit: MAX_FIELDS });
        }
        let name = free_name(&self.0, name);
        self.0.insert(name, BorrowedValue::String(value));
        Ok(())
    }

    /// The lead that it is, if it holds anything.
    pub(crate) fn into_lead(self) -> Result<BorrowedValue<'b>, Refusal> {
        if self.0.is_empty() { Err(Refusal::NoLead) } else { Ok(BorrowedValue::Object(Box::new(self.0))) }
    }
}

async fn parts<'b>(body: Bytes, boundary: &str) -> Result<Form<'b>, Refusal> {
    let broken = |error: multer::Error| Refusal::Multipart(in_words(&error));
    let stream = futures::stream::once(async { Ok::<_, std::convert::Infallible>(body) });
    let mut multipart = multer::Multipart::new(stream, boundary);
    let mut form = Form::default();
    while let Some(field) = multipart.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        let file = field.file_name().map(str::to_owned);
        let bytes = field.bytes().await.map_err(broken)?;
        let value = match file {
            Some(file) => file,
            None => String::from_utf8_lossy(&bytes).into_owned(),
        };
        if !name.is_empty() {
            form.add(Cow::Owned(name), Cow::Owned(value))?;
        }
    }
    Ok(form)
}

/// What is wrong, without what was sent.
fn in_words(error: &multer::Error) -> String {
    let words = match error {
        multer::Error::IncompleteFieldData { .. } | multer::Error::IncompleteStream => "it ends too early",
        multer::Error::IncompleteHeaders | multer::Error::ReadHeaderFailed(_) => "the head of a part cannot be read",
        _ => NO_BOUNDARY,
    };
    words.to_owned()
}

/// A name or value with `+` and `%` resolved. What is not UTF-8 then is what sites in windows-1252 send.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    let bytes: Vec<u8> = percent_decode(spaced.as_bytes()).collect();
    Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|error| charset::unsaid(error.as_bytes())))
}

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

    fn fields(form: Result<Form<'_>, Refusal>) -> Vec<String> {
        let form = form.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let mut fields: Vec<_> =
            form.0.iter().map(|(k, v)| format!("{k}={}", v.to_string().trim_matches('"'))).collect();
        fields.sort();
        fields
    }

    #[test]
    fn names_and_values_are_decoded() {
        for (text, expected) in [
            ("a=1&b=x+y%21", vec!["a=1", "b=x y!"]),
            ("name=Jos%C3%A9", vec!["name=José"]),
            ("name=Jos%E9&b=Zo%C3%AB", vec!["b=Zoë", "name=José"]),
            ("n%E9=1", vec!["né=1"]),
            ("a=%F0%9F%98%80+%ED%A0%BD", vec!["a=😀 \u{fffd}\u{fffd}\u{fffd}"]),
            ("a=100%&b=%zz&c", vec!["a=100%", "b=%zz", "c="]),
            ("&&a=1&", vec!["a=1"]),
            ("a=b=c", vec!["a=b=c"]),
            ("roof=a&roof=b&roof_2=c&roof=d", vec!["roof=a", "roof_2=b", "roof_2_2=c", "roof_3=d"]),
        ] {
            assert_eq!(fields(Form::urlencoded(text)), expected, "{text}");
        }
        let many: String = (0..301).map(|n| format!("f{n}=1&")).collect();
        assert!(matches!(Form::urlencoded(&many), Err(Refusal::TooManyFields { limit: 300 })));
    }

    fn part(name: &str, value: &str) -> String {
        format!("--XX\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n")
    }

    #[test]
    fn parts_are_fields_however_they_are_written() {
        let plain = [part("name=\"a\"", "1"), part("name=\"b\"", "x\r\ny"), "--XX--\r\n".to_owned()].concat();
        let expected = ["a=1", "b=x\r\ny"].map(|field| field.replace("\r\n", "\\r\\n"));
        let got = |text: &str, boundary| fields(Form::multipart(text, boundary)).join(" ").replace("\r\n", "\\r\\n");
        assert_eq!(got(&plain, Some("XX")), expected.join(" "));
        assert_eq!(got(&plain, None), expected.join(" "), "the first line says it");
        assert_eq!(got(&format!("preamble\r\n{plain}epilogue"), Some("XX")), expected.join(" "));
        assert_eq!(got(plain.trim_end_matches("--XX--\r\n"), Some("XX")), expected.join(" "), "without its end");
        assert_eq!(got(&part("name=a", "1").replace("\r\n", "\n"), Some("XX")), "a=1", "lines that end with LF alone");
        let file = part("name=\"photo\"; filename=\"roof.jpg\"", "\u{1}\u{2}") + &part("name=\"photo\"", "2");
        assert_eq!(got(&file, Some("XX")), "photo=roof.jpg photo_2=2");
        let typed = "--XX\r\ncontent-disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\né\r\n--XX--";
        assert_eq!(got(typed, Some("XX")), "a=é");
        assert_eq!(got("--XX--\r\n", Some("XX")), "", "nothing");
    }

    #[test]
    fn what_is_no_multipart_is_told_without_repeating_it() {
        for (text, boundary) in [("secret", None), ("--XX\r\nsecret", Some("XX")), ("secret", Some("YY"))] {
            let Err(Refusal::Multipart(told)) = Form::multipart(text, boundary).and_then(Form::into_lead) else {
                panic!("{text} is taken")
            };
            assert!(!told.contains("secret"), "{told}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(--XX|\r\n|Content-Disposition: form-data; name=a|.|%|&|=){0,20}") {
            drop(Form::multipart(&text, Some("XX")));
            drop(Form::multipart(&text, None));
            drop(Form::urlencoded(&text));
        }
    }
}
