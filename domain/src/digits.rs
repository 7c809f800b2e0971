//! Short texts of digits that need no memory of their own: every record writes several.

use std::ops::Deref;

/// A text of `N` ASCII characters.
#[derive(Clone, Copy)]
pub(crate) struct Digits<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Deref for Digits<N> {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Fills `text` with the last decimal digits of `number`, with zeros in front.
pub(crate) fn put_digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_have_zeros_in_front() {
        let mut text = *b"?????";
        put_digits(&mut text, 601);
        assert_eq!(&*Digits(text), "00601");
    }
}
