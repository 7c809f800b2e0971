//! Words for yes and no, for interest, and for nothing.

use super::Checked;
use crate::lead::InterestLevel;
use crate::settings::fold_short;

/// `hot`, `warm`, `cold`, and the words that forms offer for them.
pub(super) fn interest(text: &str) -> Checked<InterestLevel> {
    match &*fold_short(text, &mut Default::default()) {
        "hot"
        | "hotlead"
        | "veryhot"
        | "high"
        | "veryhigh"
        | "highinterest"
        | "highlyinterested"
        | "veryinterested"
        | "extremelyinterested"
        | "ready"
        | "readynow"
        | "readytobuy"
        | "readytostart"
        | "urgent"
        | "immediate"
        | "immediately"
        | "asap" => Ok(InterestLevel::Hot),
        "warm"
        | "warmlead"
        | "medium"
        | "med"
        | "moderate"
        | "mediuminterest"
        | "interested"
        | "somewhatinterested"
        | "moderatelyinterested"
        | "considering"
        | "planning"
        | "maybe" => Ok(InterestLevel::Warm),
        "cold" | "coldlead" | "low" | "verylow" | "lowinterest" | "notinterested" | "notveryinterested"
        | "slightlyinterested" | "looking" | "justlooking" | "onlylooking" | "browsing" | "justbrowsing"
        | "curious" | "researching" | "justresearching" => Ok(InterestLevel::Cold),
        _ => Err(("invalid", "must be hot, warm or cold".into())),
    }
}

/// `true` or `false`, in the words of other systems.
pub(super) fn truth(text: &str) -> Checked<bool> {
    if is_test(text) {
        return Ok(true);
    }
    // A spreadsheet's 1.
    let text = text.strip_suffix(".0").unwrap_or(text);
    match &*fold_short(text, &mut Default::default()) {
        "true" | "1" | "yes" | "y" | "t" | "on" => Ok(true),
        "false" | "0" | "no" | "n" | "f" | "off" | "live" | "prod" | "production" => Ok(false),
        _ => Err(("invalid", "must be true or false".into())),
    }
}

/// Whether a word says that the lead is a test.
pub(super) fn is_test(text: &str) -> bool {
    matches!(&*fold_short(text, &mut Default::default()), "test" | "testing" | "testlead" | "testmode" | "sandbox")
}

/// Whether the text is the filling of a test lead by Meta's tool: `<test lead: dummy data for full_name>`.
pub(super) fn is_dummy(text: &str) -> bool {
    text.starts_with("<test lead:")
}

/// Whether the text stands for nothing: what call centres type, what programs print for an empty variable, and template
/// variables that nobody filled in.
pub(super) fn says_nothing(text: &str) -> bool {
    is_unfilled(text)
        || matches!(
            &*fold_short(text, &mut Default::default()),
            "na" | "none"
                | "null"
                | "nil"
                | "undefined"
                | "nan"
                | "unknown"
                | "notavailable"
                | "notapplicable"
                | "notprovided"
                | "notset"
                | "tbd"
                | "empty"
                | "false"
                | "0"
        )
}

/// `{{lead_id}}`, `[id]`, `${id}`, `%id%`, `{id}`; but an id in braces is one.
fn is_unfilled(text: &str) -> bool {
    let marks = [("{", "}"), ("[", "]"), ("%", "%"), ("<", ">"), ("${", "}")];
    let is_marked = |(open, close): &(&str, &str)| text.len() > 2 && text.starts_with(open) && text.ends_with(close);
    marks.iter().any(is_marked) && text.parse::<uuid::Uuid>().is_err()
}

/// Whether a wish for an appointment leaves the time to others.
pub(super) fn is_any_time(text: &str) -> bool {
    says_nothing(text)
        || matches!(
            &*fold_short(text, &mut Default::default()),
            "asap"
                | "assoonaspossible"
                | "soon"
                | "now"
                | "immediately"
                | "urgent"
                | "anytime"
                | "anyday"
                | "any"
                | "flexible"
                | "imflexible"
                | "iamflexible"
                | "nopreference"
                | "whenever"
                | "notsure"
                | "unsure"
                | "tobedetermined"
                | "callme"
                | "callmefirst"
                | "earliestavailable"
                | "firstavailable"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interest_comes_in_words() {
        for (text, level) in [
            ("HOT", InterestLevel::Hot),
            ("Hot 🔥", InterestLevel::Hot),
            ("Very interested", InterestLevel::Hot),
            ("High", InterestLevel::Hot),
            ("ready to buy", InterestLevel::Hot),
            ("medium", InterestLevel::Warm),
            ("Somewhat Interested", InterestLevel::Warm),
            ("Just looking", InterestLevel::Cold),
            ("not interested", InterestLevel::Cold),
        ] {
            assert_eq!(interest(text), Ok(level), "{text}");
        }
        for text in ["5", "Solar", "boiling", ""] {
            assert!(interest(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_test_is_flagged_in_many_words() {
        for text in ["1", "1.0", "yes", "TRUE", "on", "Y", "test", "Test Lead"] {
            assert_eq!(truth(text), Ok(true), "{text}");
        }
        for text in ["0", "No", "false", "off", "live"] {
            assert_eq!(truth(text), Ok(false), "{text}");
        }
        assert!(truth("perhaps").is_err() && truth("B").is_err());
    }

    #[test]
    fn what_stands_for_nothing_identifies_nothing() {
        for text in ["N/A", "n.a.", "None", "NULL", "undefined", "{{lead_id}}", "[id]", "${id}", "%id%", "{id}", "0"] {
            assert!(says_nothing(text), "{text}");
        }
        for text in ["L-1", "{8f14e45f-ceea-467f-a8f6-1f0d2d9b9a11}", "77", "nadia"] {
            assert!(!says_nothing(text), "{text}");
        }
    }
}
