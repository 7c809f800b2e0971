//! First and last names.

/// First and last name of a full one: `Ana de la Cruz`, or `de la Cruz, Ana`.
pub(super) fn split(full: &str) -> (String, String) {
    if let Some((last, first)) = full.split_once(", ")
        && !is_suffix(first)
        && !first.contains(',')
        && !first.trim().is_empty()
    {
        return (first.trim().to_owned(), last.trim().to_owned());
    }
    match full.split_once(' ') {
        Some((first, last)) => (first.to_owned(), last.trim_start().to_owned()),
        None => (full.to_owned(), String::new()),
    }
}

/// `Jr.`, `III`, `MD`: what follows a comma behind a name without being one.
fn is_suffix(text: &str) -> bool {
    let folded: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    matches!(
        &*folded,
        "jr" | "sr" | "ii" | "iii" | "iv" | "v" | "md" | "dds" | "phd" | "esq" | "cpa" | "rn" | "junior" | "senior"
    )
}

/// The last name, where the first and a full one were sent. `None` where they do not fit together.
pub(super) fn last_of(full: &str, first: &str) -> Option<String> {
    let (split_first, split_last) = split(full);
    if same(&split_first, first) {
        return Some(split_last);
    }
    match without_start(full, first) {
        Some(rest) => Some(rest.to_owned()),
        // `name` is what some systems call the last name.
        None => (!full.contains(' ')).then(|| full.to_owned()),
    }
}

/// The first name, where the last and a full one were sent. `None` where they do not fit together.
pub(super) fn first_of(full: &str, last: &str) -> Option<String> {
    let (split_first, split_last) = split(full);
    if same(&split_last, last) {
        return Some(split_first);
    }
    if same(full, last) {
        return Some(String::new());
    }
    let before = full.len().checked_sub(last.len()).and_then(|at| Some((full.get(..at)?, full.get(at..)?)));
    match before {
        Some((before, end)) if same(end, last) && before.ends_with(' ') => Some(before.trim_end().to_owned()),
        _ => (!full.contains(' ')).then(|| full.to_owned()),
    }
}

/// Whether the full name says no more than first and last.
pub(super) fn is_whole(full: &str, first: &str, last: &str) -> bool {
    let squeeze = |text: &str| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let full = squeeze(full);
    full == squeeze(&format!("{first} {last}")) || full == squeeze(&format!("{last}, {first}"))
}

fn without_start<'t>(full: &'t str, first: &str) -> Option<&'t str> {
    let (start, rest) = (full.get(..first.len())?, full.get(first.len()..)?);
    (same(start, first) && (rest.is_empty() || rest.starts_with(' '))).then(|| rest.trim_start())
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_name_is_split() {
        for (full, first, last) in [
            ("Ana de la Cruz", "Ana", "de la Cruz"),
            ("Cher", "Cher", ""),
            ("Sample, Pat", "Pat", "Sample"),
            ("de la Cruz, Ana Maria", "Ana Maria", "de la Cruz"),
            ("Pat Sample, Jr.", "Pat", "Sample, Jr."),
            ("Pat Sample, M.D.", "Pat", "Sample, M.D."),
            ("Sample,", "Sample,", ""),
        ] {
            assert_eq!(split(full), (first.to_owned(), last.to_owned()), "{full}");
        }
    }

    #[test]
    fn a_full_name_says_what_is_missing_beside_a_part() {
        for (full, first, last) in [
            ("Ann Lee", "Ann", Some("Lee")),
            ("ANN LEE", "Ann", Some("LEE")),
            ("Mary Jane Watson", "Mary Jane", Some("Watson")),
            ("Lee, Ann", "Ann", Some("Lee")),
            ("Ann", "Ann", Some("")),
            ("Lee", "Ann", Some("Lee")),
            ("Annie Lee", "Ann", None),
            ("Zoë Ångström", "Zoë", Some("Ångström")),
        ] {
            assert_eq!(last_of(full, first).as_deref(), last, "{full} of {first}");
        }
        for (full, last, first) in [
            ("Ann Lee", "Lee", Some("Ann")),
            ("Mary Jane Watson", "Watson", Some("Mary Jane")),
            ("Ana de la Cruz", "de la Cruz", Some("Ana")),
            ("Lee", "Lee", Some("")),
            ("Ann", "Lee", Some("Ann")),
            ("Ann Other", "Lee", None),
        ] {
            assert_eq!(first_of(full, last).as_deref(), first, "{full} of {last}");
        }
        assert!(is_whole("fancy  nancy", "Fancy", "Nancy") && is_whole("Nancy, Fancy", "Fancy", "Nancy"));
        assert!(!is_whole("Fancy Nancy Jr.", "Fancy", "Nancy"));
    }
}
