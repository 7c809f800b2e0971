//! Taking an alert's expression apart.

/// What an alert compares: its expression split at `and`, `or` and `unless`, each part without its last comparison.
/// A healthy system gives each of them data, while the whole gives none.
pub fn operands(expression: &str) -> Vec<String> {
    let mut operands = Vec::new();
    for part in split(expression, &[" and ", " or ", " unless "]) {
        let value = split(part, &["==", "!=", "<=", ">=", "<", ">"]).into_iter().next().unwrap_or(part).trim();
        match enclosed(value).filter(|_| value.len() == part.trim().len()) {
            Some(inner) => operands.extend(self::operands(inner)),
            None => operands.push(value.to_owned()),
        }
    }
    operands
}

/// Splits at the separators that stand outside of brackets and quotes.
fn split<'e>(text: &'e str, separators: &[&str]) -> Vec<&'e str> {
    let (mut parts, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_u32, false);
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let found = separators.iter().find(|s| depth == 0 && !quoted && starts_with(rest, s));
        if let Some(separator) = found {
            parts.extend(text.get(start..at));
            at += separator.len();
            start = at;
            continue;
        }
        match rest.chars().next().unwrap_or_default() {
            '"' => quoted = !quoted,
            '(' | '{' | '[' if !quoted => depth += 1,
            ')' | '}' | ']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += rest.chars().next().map_or(1, char::len_utf8);
    }
    parts.extend(text.get(start..));
    parts
}

/// Like `str::starts_with`; a space of the separator stands for any white space.
fn starts_with(text: &str, separator: &str) -> bool {
    let mut chars = text.chars();
    separator.chars().all(|wanted| chars.next().is_some_and(|c| c == wanted || (wanted == ' ' && c.is_whitespace())))
}

/// What stands in the brackets that enclose the whole text.
fn enclosed(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let mut depth = 0_i32;
    let balanced = inner.chars().all(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth >= 0
    });
    balanced.then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::operands;

    #[test]
    fn comparisons_are_taken_off() {
        assert_eq!(operands("up{job=\"a<b\"} == 0"), ["up{job=\"a<b\"}"]);
        assert_eq!(operands("rate(x{a!=\"5\"}[5m])\n  / sum(y) > 0.01"), ["rate(x{a!=\"5\"}[5m])\n  / sum(y)"]);
        assert_eq!(operands("(sum(up) or vector(0)) == 0"), ["(sum(up) or vector(0))"]);
    }

    #[test]
    fn each_operand_stands_alone() {
        assert_eq!(operands("a / b < 0.1\nor (predict(a[6h], 9) < 0 and a > 5)"), ["a / b", "predict(a[6h], 9)", "a"]);
        assert_eq!(operands("a > 0\nand sum by (or) (b) > 1000"), ["a", "sum by (or) (b)"]);
    }
}
