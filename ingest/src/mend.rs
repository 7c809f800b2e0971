//! JSON that is well-formed and still not fit to be read as it is: halves of emojis, and names that come twice.

use simd_json::BorrowedValue;
use simd_json::borrowed::Object;

/// Length of `\ud83d`.
const ESCAPE: usize = 6;

/// Writes U+FFFD in the place of each half of a surrogate pair that stands alone, as in a text that was cut in the middle of
/// an emoji. The length stays, so that places in the text do.
pub(crate) fn halves(text: &mut [u8]) {
    if !text.contains(&b'\\') {
        return;
    }
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        at += match surrogate(text, at) {
            Some(Half::High) if surrogate(text, at + ESCAPE) == Some(Half::Low) => 2 * ESCAPE,
            Some(_) => {
                if let Some(escape) = text.get_mut(at..at + ESCAPE) {
                    escape.copy_from_slice(b"\\ufffd");
                }
                ESCAPE
            }
            // Whatever is escaped, also a backslash.
            None => 2,
        };
    }
}

#[derive(PartialEq, Eq)]
enum Half {
    High,
    Low,
}

/// The half of a surrogate pair whose escape stands here.
fn surrogate(text: &[u8], at: usize) -> Option<Half> {
    let digits = text.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Half::High),
        0xdc00..=0xdfff => Some(Half::Low),
        _ => None,
    }
}

/// Keeps, of members that have the same name, the last: whatever the size of their object, and as nearly every other reader
/// does. The parser keeps them all, those of large objects in no order.
pub(crate) fn last_wins(value: &mut BorrowedValue<'_>) {
    match value {
        BorrowedValue::Static(_) | BorrowedValue::String(_) => {}
        BorrowedValue::Array(items) => items.iter_mut().for_each(last_wins),
        BorrowedValue::Object(object) => {
            if has_duplicates(object) {
                let mut members: Vec<_> = std::mem::take(&mut **object).into_iter().collect();
                // A name is a piece of the text that was parsed: where it lies tells which came first.
                members.sort_by_key(|(name, _)| name.as_ptr());
                for (name, member) in members {
                    object.insert(name, member);
                }
            }
            object.values_mut().for_each(last_wins);
        }
    }
}

fn has_duplicates(object: &Object<'_>) -> bool {
    if object.is_map() {
        let mut names: Vec<&str> = object.keys().map(|name| &**name).collect();
        names.sort_unstable();
        return names.windows(2).any(|pair| pair.first() == pair.last());
    }
    object.keys().enumerate().any(|(place, name)| object.keys().skip(place + 1).any(|other| other == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_emoji_is_a_replacement_character() {
        for (text, read) in [
            (r#""hi \ud83d""#, "hi \u{fffd}"),
            (r#""hi \ude00""#, "hi \u{fffd}"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\ud83dA""#, "\u{fffd}A"),
            (r#""\ud83dA \uD83D""#, "\u{fffd}A \u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\\ud83d""#, "\\ud83d"),
            (r#""\\\ud83d""#, "\\\u{fffd}"),
            (r#""\ud7ff\ue000""#, "\u{d7ff}\u{e000}"),
            (r#""ud83d""#, "ud83d"),
        ] {
            let mut bytes = text.as_bytes().to_vec();
            halves(&mut bytes);
            assert_eq!(bytes.len(), text.len());
            assert_eq!(simd_json::to_borrowed_value(&mut bytes).unwrap(), BorrowedValue::from(read), "{text}");
        }
        for text in [r#""\ud83"#, r"\", r"\u", r#""\ud8zz""#, "\\ud83d\\u"] {
            halves(&mut text.as_bytes().to_vec());
        }
    }

    /// Reads an object in which `count` other members surround `twice`.
    fn read(count: usize, twice: &str) -> serde_json::Value {
        let others: Vec<String> = (0..count).map(|n| format!("\"q{n}\":{n}")).collect();
        let (before, after) = others.split_at(count / 2);
        let text = format!("{{{}}}", [before, &[twice.to_owned()], after].concat().join(","));
        let mut bytes = text.into_bytes();
        let mut value = simd_json::to_borrowed_value(&mut bytes).unwrap();
        last_wins(&mut value);
        let BorrowedValue::Object(object) = &value else { panic!("it is an object") };
        assert!(!has_duplicates(object));
        serde_json::to_value(&value).unwrap()
    }

    #[test]
    fn of_two_members_of_one_name_the_last_counts_whatever_the_size() {
        for count in [0, 3, 29, 30, 31, 32, 33, 60, 200] {
            for _ in 0..5 {
                let read = read(count, r#""zip":"1","zip":"2","a":{"b":1,"b":2},"zip":"3","z\u0069p":"4""#);
                assert_eq!((&read["zip"], &read["a"]["b"]), (&"4".into(), &2.into()), "{count}");
                assert_eq!(read.as_object().unwrap().len(), count + 2);
            }
        }
        assert_eq!(read(40, r#""l":[{"a":1,"a":2}],"x":null,"x":"last","y":"first","y":null"#)["l"][0]["a"], 2);
    }
}
