//! Where the customer lives.

use serde_json::{Map, Value};

use super::Checked;
use crate::settings::{fold_name, fold_short};
use crate::text::plain;
use crate::zip::{Zip, ZipDirectory, ZipInfo};

/// A ZIP code of the list, as it was written.
#[derive(Clone, Copy)]
pub(super) struct Place<'z> {
    pub(super) info: &'z ZipInfo,
    /// Whether zeros in front were added: it may as well have lost a digit elsewhere.
    is_padded: bool,
    /// The state that was written beside it.
    beside: Option<&'static str>,
}

/// Reads a ZIP code, also with a label (`ZIP: 90210`), or with its state or country (`CA 90210`, `90210, USA`).
pub(super) fn place<'z>(text: &str, zips: &'z ZipDirectory) -> Checked<Place<'z>> {
    let text = plain(text);
    let (mut beside, mut written) = (None, &*text);
    let read = Zip::parse(&text).or_else(|error| {
        let number = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let before = text.strip_suffix(number).unwrap_or_default();
        let digits = number.trim_end_matches(|c: char| !c.is_ascii_digit());
        let after = number.strip_prefix(digits).unwrap_or_default();
        let mut words = [before, after].into_iter().map(|part| part.trim_matches(|c: char| !c.is_alphabetic()));
        let is_known = words.all(|word| {
            let state = code(word);
            beside = state.or(beside);
            word.is_empty() || state.is_some() || is_label(word)
        });
        let is_apart = !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
        written = digits;
        if is_known && is_apart && digits.len() >= 5 { Zip::parse(digits) } else { Err(error) }
    });
    let zip = read.map_err(|e| ("invalid", e.to_string()))?;
    let info = zips.get(zip).ok_or_else(|| ("unknown", "is no ZIP code in use".to_owned()))?;
    Ok(Place { info, is_padded: Zip::is_short(written), beside })
}

fn is_label(word: &str) -> bool {
    matches!(&*fold_name(word), "zip" | "zipcode" | "postalcode" | "z" | "us" | "usa" | "unitedstates")
}

/// What a lead's own state says of its ZIP code.
pub(super) enum Fits {
    /// Nothing against it.
    Yes,
    /// The ZIP lies elsewhere; says so.
    Doubtful(String),
    /// It was completed to one that lies elsewhere, so it is another; says so.
    No(String),
}

impl Place<'_> {
    /// Compares the ZIP with the state that the lead names.
    pub(super) fn fits(self, extra: &Map<String, Value>) -> Fits {
        let Some(state) = self.beside.or_else(|| state_in(extra)).filter(|state| *state != &*self.info.state) else {
            return Fits::Yes;
        };
        let Self { info, .. } = self;
        if self.is_padded {
            let text =
                format!("has fewer than five digits; as {} it would lie in {}, not in {state}", info.zip, info.state);
            return Fits::No(format!("{text}; send all five"));
        }
        Fits::Doubtful(format!(
            "{} lies in {}, but the lead's state is {state}; the ZIP code counts",
            info.zip, info.state
        ))
    }
}

/// The state that a lead names among what no field of ours takes.
fn state_in(extra: &Map<String, Value>) -> Option<&'static str> {
    let named = extra.iter().filter(|(name, _)| {
        matches!(
            &*fold_short(name, &mut Default::default()),
            "state"
                | "st"
                | "statecode"
                | "stateprovince"
                | "stateabbreviation"
                | "province"
                | "region"
                | "customerstate"
                | "addressstate"
                | "homestate"
                | "propertystate"
                | "usstate"
        )
    });
    named.filter_map(|(_, value)| code(value.as_str()?)).next()
}

/// The two-letter code of a state or territory, by code or name.
fn code(text: &str) -> Option<&'static str> {
    let folded = fold_name(text);
    let found = STATES.iter().find(|(code, name)| folded.eq_ignore_ascii_case(code) || folded == fold_name(name));
    found.map(|(code, _)| *code)
}

/// States, the District, territories and military post offices (USPS Publication 28, appendix B).
const STATES: [(&str, &str); 62] = [
    ("AL", "Alabama"),
    ("AK", "Alaska"),
    ("AZ", "Arizona"),
    ("AR", "Arkansas"),
    ("CA", "California"),
    ("CO", "Colorado"),
    ("CT", "Connecticut"),
    ("DE", "Delaware"),
    ("DC", "District of Columbia"),
    ("FL", "Florida"),
    ("GA", "Georgia"),
    ("HI", "Hawaii"),
    ("ID", "Idaho"),
    ("IL", "Illinois"),
    ("IN", "Indiana"),
    ("IA", "Iowa"),
    ("KS", "Kansas"),
    ("KY", "Kentucky"),
    ("LA", "Louisiana"),
    ("ME", "Maine"),
    ("MD", "Maryland"),
    ("MA", "Massachusetts"),
    ("MI", "Michigan"),
    ("MN", "Minnesota"),
    ("MS", "Mississippi"),
    ("MO", "Missouri"),
    ("MT", "Montana"),
    ("NE", "Nebraska"),
    ("NV", "Nevada"),
    ("NH", "New Hampshire"),
    ("NJ", "New Jersey"),
    ("NM", "New Mexico"),
    ("NY", "New York"),
    ("NC", "North Carolina"),
    ("ND", "North Dakota"),
    ("OH", "Ohio"),
    ("OK", "Oklahoma"),
    ("OR", "Oregon"),
    ("PA", "Pennsylvania"),
    ("RI", "Rhode Island"),
    ("SC", "South Carolina"),
    ("SD", "South Dakota"),
    ("TN", "Tennessee"),
    ("TX", "Texas"),
    ("UT", "Utah"),
    ("VT", "Vermont"),
    ("VA", "Virginia"),
    ("WA", "Washington"),
    ("WV", "West Virginia"),
    ("WI", "Wisconsin"),
    ("WY", "Wyoming"),
    ("AS", "American Samoa"),
    ("GU", "Guam"),
    ("MP", "Northern Mariana Islands"),
    ("PR", "Puerto Rico"),
    ("VI", "Virgin Islands"),
    ("FM", "Federated States of Micronesia"),
    ("MH", "Marshall Islands"),
    ("PW", "Palau"),
    ("AA", "Armed Forces Americas"),
    ("AE", "Armed Forces Europe"),
    ("AP", "Armed Forces Pacific"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, &'static str> {
        place(text, &ZipDirectory::builtin()).map(|place| place.info.zip.to_string()).map_err(|(code, _)| code)
    }

    #[test]
    fn zips_are_read_with_what_stands_beside_them() {
        for (text, zip) in [
            ("90210", "90210"),
            ("９０２１０", "90210"),
            ("\u{200e}90210", "90210"),
            ("z:90210", "90210"),
            ("ZIP: 90210", "90210"),
            ("CA 90210", "90210"),
            ("California, 90210-1234", "90210"),
            ("90210 USA", "90210"),
            ("90210-____", "90210"),
            ("90210\u{2013}1234", "90210"),
            ("7837", "07837"),
            ("601.0", "00601"),
        ] {
            assert_eq!(read(text), Ok(zip.to_owned()), "{text}");
        }
        for text in ["12345 Main St", "90210a", "ZIP", "K1A 0B1", "PO Box 90210", "90210 90211", "CA 902"] {
            assert_eq!(read(text), Err("invalid"), "{text}");
        }
        assert_eq!(read("99999"), Err("unknown"));
    }

    #[test]
    fn a_zip_that_was_completed_must_lie_in_the_leads_state() {
        let zips = ZipDirectory::builtin();
        let fits = |zip: &str, name: &str, state: &str| {
            let extra = Map::from_iter([(name.to_owned(), state.into())]);
            match place(zip, &zips).unwrap_or_else(|_| panic!("{zip}")).fits(&extra) {
                Fits::Yes => "yes",
                Fits::Doubtful(_) => "doubtful",
                Fits::No(_) => "no",
            }
        };
        for (zip, name, state, outcome) in [
            ("7701", "state", "TX", "no"),
            ("7701", "State", "texas", "no"),
            ("7701", "stateProvince", " Tx ", "no"),
            ("7701.0", "state", "TX", "no"),
            ("77011234", "state", "TX", "no"),
            ("7701", "state", "NJ", "yes"),
            ("7701", "state", "New Jersey", "yes"),
            ("7701", "state", "Kalifornien", "yes"),
            ("7701", "city", "TX", "yes"),
            ("601", "state", "PR", "yes"),
            ("07701", "state", "TX", "doubtful"),
            ("TX 07701", "x", "", "doubtful"),
            ("90210", "state", "CA", "yes"),
        ] {
            assert_eq!(fits(zip, name, state), outcome, "{zip} {name} {state}");
        }
    }

    #[test]
    fn every_state_of_the_list_has_a_name() {
        for info in ZipDirectory::builtin().iter() {
            assert_eq!(
                code(&info.state),
                STATES.iter().map(|(c, _)| *c).find(|c| *c == &*info.state),
                "{}",
                info.state
            );
            assert!(code(&info.state).is_some(), "{}", info.state);
        }
    }
}
