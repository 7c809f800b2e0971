//! Texts as people and software write them, made readable.

use std::borrow::Cow;

/// Whether a character is invisible and changes how the text around it is read: marks of direction, spaces of no width,
/// fillers. The joiners of emojis and of Indic and Persian scripts are not among them.
pub fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text as people may read it: without deceptive characters, and with a space for each control character but line
/// breaks.
pub fn readable(text: &str) -> Cow<'_, str> {
    let fine = text.bytes().all(|b| (b' '..=b'~').contains(&b) || b == b'\n');
    if fine || !text.contains(|c: char| (c.is_control() && c != '\n') || is_deceptive(c)) {
        return Cow::Borrowed(text);
    }
    let text = text.replace("\r\n", "\n");
    Cow::Owned(text.chars().filter(|c| !is_deceptive(*c)).map(visible).collect())
}

fn visible(c: char) -> char {
    match c {
        '\n' => c,
        '\r' => '\n',
        '\u{80}'..='\u{9f}' => windows_1252(c),
        c if c.is_control() => ' ',
        c => c,
    }
}

/// What a C1 control character stands for where a text in windows-1252 was taken for Latin-1 (WHATWG, encoding of 0x80 to
/// 0x9F).
fn windows_1252(c: char) -> char {
    const HIGH: [char; 32] = [
        '€', ' ', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', ' ', 'Ž', ' ', ' ', '‘', '’', '“', '”', '•',
        '–', '—', '˜', '™', 'š', '›', 'œ', ' ', 'ž', 'Ÿ',
    ];
    HIGH.get((c as usize).wrapping_sub(0x80)).copied().unwrap_or(' ')
}

/// The text as a machine reads it: printable ASCII for what only looks otherwise (wide digits, dashes, quotation marks and
/// spaces of all kinds), without invisible marks and blanks around it.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Cow::Borrowed(text.trim());
    }
    let seen =
        text.chars().filter(|c| !is_deceptive(*c) && !matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}'));
    let plain: String = seen.map(as_ascii).collect();
    Cow::Owned(plain.trim().to_owned())
}

fn as_ascii(c: char) -> char {
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => '-',
        '\u{2018}' | '\u{2019}' | '\u{2bc}' | '\u{2032}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        // Wide forms stand in the order of ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        c if c.is_whitespace() || c.is_control() => ' ',
        c => c,
    }
}

/// The text with the characters that HTML entities stand for. Some form plug-ins escape twice.
pub(crate) fn without_entities(text: &str) -> Cow<'_, str> {
    if !text.contains('&') || !text.contains(';') {
        return Cow::Borrowed(text);
    }
    let once = html_escape::decode_html_entities(text);
    match html_escape::decode_html_entities(&once) {
        Cow::Owned(twice) => Cow::Owned(twice),
        Cow::Borrowed(_) => once,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_no_deceptive_and_no_control_characters() {
        for (text, read) in [
            ("Pat Sample", "Pat Sample"),
            ("a\u{202e}gpj.exe", "agpj.exe"),
            ("\u{2068}Pat\u{2069}\u{200e}", "Pat"),
            ("bell\u{7}\0nul\u{1b}[31m", "bell  nul [31m"),
            ("two\r\nlines\ttab", "two\nlines tab"),
            ("it\u{92}s", "it’s"),
            ("Zoë 👩\u{200d}🔧 ❤\u{fe0f}", "Zoë 👩\u{200d}🔧 ❤\u{fe0f}"),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ] {
            assert_eq!(readable(text), read, "{text:?}");
        }
    }

    #[test]
    fn machines_read_ascii_for_what_looks_like_it() {
        for (text, read) in [
            (" 90210 ", "90210"),
            ("\u{feff}９０２１０", "90210"),
            ("213\u{2011}555\u{2013}0100", "213-555-0100"),
            ("1\u{fe0d}\u{a0}213", "1 213"),
            ("o\u{2019}brien@example.com", "o'brien@example.com"),
            ("90210\u{0}", "90210"),
        ] {
            assert_eq!(plain(text), read, "{text:?}");
        }
    }

    #[test]
    fn entities_are_the_characters_they_stand_for() {
        for (text, read) in [
            ("O&#039;Brien", "O'Brien"),
            ("O&#x27;Brien", "O'Brien"),
            ("O&amp;#039;Brien", "O'Brien"),
            ("Jos&eacute;", "José"),
            ("Smith &amp; Sons", "Smith & Sons"),
            ("AT&T; Love & Peace", "AT&T; Love & Peace"),
            ("a &notanentity; b", "a &notanentity; b"),
            ("&#0;&#xD800;&#99999999;", "&#0;&#xD800;&#99999999;"),
        ] {
            assert_eq!(without_entities(text), read, "{text}");
        }
    }
}
