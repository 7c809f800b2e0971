//! What people and software put into fields.

use serde_json::json;

use super::*;

#[test]
fn what_cannot_be_read_is_kept_with_a_warning() {
    for (name, value, field) in [
        ("email", json!("N/A"), "email"),
        ("Email Address", json!("none"), "email"),
        ("email", json!("john.@example.com"), "email"),
        ("email", json!(true), "email"),
        ("budget", json!("Not sure"), "estimated_value"),
        ("budget", json!("under $5,000"), "estimated_value"),
        ("estimated_value", json!("25,00"), "estimated_value"),
        ("interest", json!("Solar panels"), "interest_level"),
        ("interest_level", json!(7), "interest_level"),
        ("appointment_date", json!("2027-12-10"), "appointment_date"),
        ("appointment_date", json!("12/10/2027"), "appointment_date"),
        ("appointment_date", json!("12/10/2027 2:00 PM - 4:00 PM"), "appointment_date"),
        ("appointment_date", json!("Dates: Dec 13\nTimes: Morning (9am - 12pm)"), "appointment_date"),
        ("scheduled_time", json!("afternoon"), "appointment_time"),
        ("test", json!("perhaps"), "test"),
        ("last_name", json!("N/A"), "last_name"),
    ] {
        let taken = taken(with(json!({name: value})));
        assert_eq!(warned(&taken), [field], "{name}: {value}");
        assert_eq!(taken.lead.extra, Map::from_iter([(name.to_owned(), value.clone())]));
        assert!(!taken.warnings.iter().any(|w| w.message.contains(&value.to_string())), "never what was sent");
    }
}

#[test]
fn a_range_is_kept_beside_its_lower_end() {
    for (text, dollars) in [("$20,000 - $50,000", 20_000), ("$400+", 400), ("10-20k", 10_000)] {
        let taken = taken(with(json!({"budget": text})));
        assert_eq!(taken.lead.estimated_value, Some(Money::from_cents(dollars * 100)), "{text}");
        assert_eq!((&taken.lead.extra["budget"], warned(&taken)), (&json!(text), vec!["estimated_value"]));
    }
    for (value, cents) in [
        (json!("25k"), 2_500_000),
        (json!(24999.999999999996), 2_500_000),
        (json!(0.1 + 0.2), 30),
        (json!(25000.0), 2_500_000),
    ] {
        let taken = taken(with(json!({"estimated_value": value})));
        assert_eq!(taken.lead.estimated_value, Some(Money::from_cents(cents)), "{value}");
        assert!(taken.warnings.is_empty() && taken.lead.extra.is_empty());
    }
}

#[test]
fn a_wish_is_scheduled_by_somebody_who_reads_it() {
    let mut provider = provider(json!({}));
    provider.auto_schedule = true;
    let auto = |date: &str| {
        normalise(&provider, PostedAs::Lead, with(json!({"appointment_date": date}))).unwrap().lead.auto_schedule
    };
    for date in ["", "ASAP", "Any time", "N/A", "I'm flexible"] {
        assert!(auto(date), "{date:?} leaves the time to us");
    }
    for date in ["2027-12-10", "Tuesday afternoon", "12/10/2027 2:00 PM - 4:00 PM"] {
        assert!(!auto(date), "{date}");
    }
}

#[test]
fn a_date_takes_its_time_and_zone_from_their_own_fields() {
    let two = Some("2027-12-10T22:00:00Z".parse().unwrap());
    for (sent, kept) in [
        (json!({"appointment_date": "12/10/2027", "appointment_time": "2:00 PM"}), json!({})),
        (json!({"Appt Date": "2027-12-10", "Appt Time": "14:00"}), json!({})),
        (json!({"appointment_time": "12/10/2027 2:00 PM"}), json!({})),
        (
            json!({"appointment_date": "12/10/2027", "appointment_time": "5:00 PM", "timezone": "America/New_York"}),
            json!({}),
        ),
        (json!({"appointment_date": "2027-12-10T17:00", "time_zone": "Eastern Time (US & Canada)"}), json!({})),
        (
            json!({"appointment_date": "2027-12-10T22:00:00Z", "timezone": "America/New_York"}),
            json!({"timezone": "America/New_York"}),
        ),
        (json!({"appointment_date": "12/10/2027 2pm", "appointment_time": "3pm"}), json!({"appointment_time": "3pm"})),
        (json!({"appointment_date": 1828476000u64}), json!({})),
        (json!({"appointment_date": 1828476000000u64}), json!({})),
        (json!({"appointment_date": 1828476000.0}), json!({})),
        (json!({"appointment_date": "1828476000"}), json!({})),
        (json!({"appointment_date": "Dec 10, 2027 2:00 PM"}), json!({})),
        (json!({"appointment_date": "2027-12-10T17:00[America/New_York]"}), json!({})),
    ] {
        let taken = taken(with(sent.clone()));
        assert_eq!(taken.lead.appointment_date, two, "{sent}");
        assert_eq!(serde_json::Value::Object(taken.lead.extra), kept, "{sent}");
    }
    let unknown = taken(with(json!({"appointment_date": "2027-12-10T14:00", "timezone": "Mars"})));
    assert_eq!((unknown.lead.appointment_date, warned(&unknown)), (None, vec!["appointment_date"]));
    assert_eq!(lead(with(json!({"timezone": "America/Chicago"}))).extra["timezone"], "America/Chicago");
    let day_first =
        normalise(&provider(json!({})), PostedAs::Lead, with(json!({"appointment_date": "21/12/2027 14:00"})));
    assert_eq!(day_first.unwrap_err()[0].field, "appointment_date", "all its other dates would be misread");
}

#[test]
fn names_complete_each_other_and_nothing_of_them_is_lost() {
    for (sent, first, last, kept) in [
        (json!({"first_name": "Ann", "name": "Ann Lee"}), "Ann", "Lee", None),
        (json!({"first_name": "", "last_name": "Lee", "full_name": "Ann Lee"}), "Ann", "Lee", None),
        (
            json!({"first_name": "", "firstName": "Fancy", "lastName": "Nancy", "name": "Fancy Nancy"}),
            "Fancy",
            "Nancy",
            None,
        ),
        (json!({"first_name": "Ann", "name": "Lee"}), "Ann", "Lee", None),
        (json!({"first_name": "Ann", "name": "Robert Lee"}), "Ann", "", Some("Robert Lee")),
        (
            json!({"first_name": "Ann", "last_name": "Lee", "name": "Ann Lee-Smith"}),
            "Ann",
            "Lee",
            Some("Ann Lee-Smith"),
        ),
        (json!({"first_name": "", "name": "Sample, Pat"}), "Pat", "Sample", None),
        (json!({"first_name": "", "name": "Mary Jane 😱 Watson"}), "Mary", "Jane 😱 Watson", None),
        (json!({"first_name": "", "name": "李小龙"}), "李小龙", "", None),
    ] {
        let read = lead(with(sent.clone()));
        assert_eq!((read.first_name.as_str(), read.last_name.as_str()), (first, last), "{sent}");
        assert_eq!(read.extra.get("name").and_then(|name| name.as_str()), kept, "{sent}");
    }
}

#[test]
fn texts_are_what_people_meant() {
    for (name, sent, field, read) in [
        ("last_name", "O&#039;Brien", "last_name", "O'Brien"),
        ("last_name", "O&amp;#039;Brien", "last_name", "O'Brien"),
        ("last_name", "Pe\u{f1}a\u{200b}", "last_name", "Pe\u{f1}a"),
        ("last_name", "gpj\u{202e}exe", "last_name", "gpjexe"),
        ("last_name", "a\u{0}b\u{1b}c", "last_name", "a b c"),
        ("last_name", "Null", "last_name", "Null"),
        ("last_name", "Nguy\u{1ec5}n", "last_name", "Nguy\u{1ec5}n"),
        ("notes", "Love & Peace", "notes", "Love & Peace"),
        ("notes", "line one\r\nline\u{202e} two", "notes", "line one\nline two"),
        ("notes", "5 &gt; 3 &quot;ok&quot;", "notes", "5 > 3 \"ok\""),
        ("email", "mailto:Pat@Example.com", "email", "pat@example.com"),
        ("email", "\u{200b}pat@example.com", "email", "pat@example.com"),
        ("product_type", "Roof\u{200b}ing", "product_type", "Roofing"),
        ("external_id", "a&amp;b", "external_id", "a&amp;b"),
    ] {
        let read_lead = serde_json::to_value(lead(with(json!({name: sent})))).unwrap();
        assert_eq!(read_lead[field], read, "{sent:?}");
    }
    let kept = lead(with(json!({"roo\u{202e}f": {"a\u{7}": ["x\u{202e}y"]}}))).extra;
    assert_eq!(serde_json::Value::Object(kept), json!({"roof": {"a ": ["xy"]}}));
}

#[test]
fn phones_and_zips_are_read_as_software_leaves_them() {
    for (phone, kept) in [
        (json!("\u{202d}(213) 555-0123\u{202c}"), false),
        (json!("tel:+1-213-555-0123"), false),
        (json!(2135550123.0), false),
        (json!("2135550123.0"), false),
        (json!("&#43;1 213 555 0123"), false),
        (json!("+12135550123;ext=136"), true),
        (json!("213-555-0123 / 310-555-0199"), true),
    ] {
        let taken = taken(with(json!({"phone": phone})));
        assert_eq!(taken.lead.phone.e164(), "+12135550123", "{phone}");
        assert_eq!(taken.lead.extra.get("phone"), kept.then_some(&phone), "what the number does not say is kept");
        assert!(taken.warnings.is_empty());
    }
    for zip in [
        json!("90210.0"),
        json!(90210.0),
        json!("90210-____"),
        json!("\u{200e}90210"),
        json!("ZIP 90210"),
        json!("CA 90210"),
    ] {
        assert_eq!(lead(with(json!({"zip_code": zip}))).zip_code.to_string(), "90210", "{zip}");
    }
    for (name, blank) in [
        ("email", "___@___.___"),
        ("budget", "--"),
        ("appointment_date", "__/__/____"),
        ("last_name", "."),
        ("first_name", "--"),
        ("test", "-"),
    ] {
        let taken = taken(with(json!({name: blank})));
        assert!(taken.warnings.is_empty() && taken.lead.extra.is_empty(), "{blank}: an empty mask is nothing");
    }
    let masked = errors(with(json!({"phone": "(___) ___-____"})));
    assert_eq!(masked, [("phone".to_owned(), "required".to_owned())]);
}

#[test]
fn a_short_zip_must_lie_in_the_leads_state() {
    let contradiction = errors(with(json!({"zip_code": "7701", "state": "TX", "city": "Houston"})));
    assert_eq!(contradiction, [("zip_code".to_owned(), "invalid".to_owned())]);
    assert_eq!(lead(with(json!({"zip_code": "7701", "state": "New Jersey"}))).zip_code.to_string(), "07701");
    let doubtful = taken(with(json!({"state": "AL"})));
    assert_eq!(
        (&*doubtful.lead.state, warned(&doubtful)),
        ("CA", vec!["zip_code"]),
        "a default of a form costs no lead"
    );
}
