use proptest::prelude::*;

use super::*;

fn at(date: &str, time: Option<&str>, zone: Option<&str>) -> Result<String, Unread> {
    let beverly_hills = TimeZone::get("America/Los_Angeles").unwrap();
    read(Sent { date, time, zone }, Some(&beverly_hills)).map(|moment| moment.at.to_string())
}

#[test]
fn moments_are_read_in_every_usual_form() {
    let two = "2027-12-10T22:00:00Z";
    for text in [
        "2027-12-10T22:00:00Z",
        "2027-12-10T22:00:00.000Z",
        "2027-12-10T14:00:00-08:00",
        "2027-12-10T14:00:00-0800",
        "2027-12-10T14:00",
        "2027-12-10t14:00:00",
        "2027-12-10 14:00:00",
        "2027-12-10 14:00:00-08:00",
        "2027-12-10 14:00 -0800",
        "2027-12-10 22:00:00 UTC",
        "2027-12-10 22:00:00 +0000 UTC",
        "20271210T140000",
        "20271210T220000Z",
        "202712101400",
        "20271210140000",
        "2027/12/10 14:00",
        "2027.12.10 14:00",
        "12/10/2027 2:00 PM",
        "12/10/2027 2:00pm",
        "12/10/2027, 2:00 PM",
        "12/10/2027 - 2:00 PM",
        "12/10/2027 @ 2pm",
        "12/10/2027 at 2 p.m.",
        "12/10/2027 2:00 p.m.",
        "12/10/2027 2:00 P. M.",
        "12/10/2027 14:00",
        "12/10/2027 14:00 PM",
        "12/10/27 2:00 PM",
        "12/10/2027 2:00:00 PM",
        "2:00 PM 12/10/2027",
        "December 10, 2027 2:00 PM",
        "December 10th, 2027 at 2:00 PM",
        "Dec 10, 2027 2:00 PM",
        "Dec. 10 2027, 2:00 pm",
        "Friday, December 10, 2027 2:00 PM",
        "Fri Dec 10 2027 14:00:00 GMT-0800 (Pacific Standard Time)",
        "Fri Dec 10 14:00:00 PST 2027",
        "Fri, 10 Dec 2027 14:00:00 -0800",
        "Fri, 10 Dec 2027 22:00:00 GMT",
        "10 December 2027 14:00",
        "10th of December 2027, 2pm",
        "10-Dec-2027 14:00",
        "10-DEC-27 02:00 PM",
        "2pm on Dec 10, 2027",
        "12/10/2027 2:00 PM PST",
        "12/10/2027 2:00 PM Pacific Time",
        "12/10/2027 2:00 PM (PST)",
        "12/10/2027 5:00 PM EST",
        "12/10/2027 5:00 PM ET",
        "12/10/2027 5:00 PM Eastern Standard Time",
        "12/10/2027 5pm eastern",
        "2027-12-10 17:00 America/New_York",
        "2027-12-10T17:00[America/New_York]",
        "2027-12-10T17:00-05:00[America/New_York]",
        "2027-12-10T22:00Z[America/New_York][u-ca=gregory]",
        "2027-12-10T14:00[US/Pacific]",
        "2027-12-10 14:00 UTC-8",
        "1828476000",
        "1828476000.0",
        "1828476000000",
        "/Date(1828476000000)/",
        "2027-12-10T14:00:00.0000000",
        "2027-12-10T22:00:00+0000",
        "2027-12-10 2 PM",
        "Dec 10, 2027 - 2:00 PM",
        "Dec 10, 2027 | 2 PM PT",
        "14:00, 10 Dec 2027",
        "1828476000000000",
        "46731.5833333333",
        "\u{200e}12/10/2027\u{202f}2:00\u{a0}PM",
    ] {
        assert_eq!(at(text, None, None).as_deref(), Ok(two), "{text}");
    }
    for (text, utc) in [
        ("12/9/2027 9:05 AM", "2027-12-09T17:05:00Z"),
        ("12/25/2027 12:00 noon", "2027-12-25T20:00:00Z"),
        ("12-25-2027 noon", "2027-12-25T20:00:00Z"),
        ("12/10/2027 12:30 AM", "2027-12-10T08:30:00Z"),
        ("7/1/2027 2:00 PM ET", "2027-07-01T18:00:00Z"),
        ("7/1/2027 2:00 PM EDT", "2027-07-01T18:00:00Z"),
        ("7/1/2027 2:00 PM MST", "2027-07-01T21:00:00Z"),
        ("7/1/2027 2:00 PM HST", "2027-07-02T00:00:00Z"),
    ] {
        assert_eq!(at(text, None, None).as_deref(), Ok(utc), "{text}");
    }
}

#[test]
fn date_time_and_zone_may_come_apart() {
    let two = Ok("2027-12-10T22:00:00Z");
    for (date, time, zone) in [
        ("12/10/2027", Some("2:00 PM"), None),
        ("2027-12-10", Some("14:00"), None),
        ("2027-12-10", Some("14:00:00"), None),
        ("December 10, 2027", Some("2pm"), None),
        ("2027-12-10T00:00:00.000Z", Some("2:00 PM"), None),
        ("2027-12-10 00:00:00", Some("14:00"), None),
        ("2027-12-10", Some("1899-12-30T14:00:00"), None),
        ("46731", Some("0.583333333333333"), None),
        ("12/10/2027", Some("5:00 PM EST"), None),
        ("12/10/2027", Some("5:00 PM"), Some("America/New_York")),
        ("2027-12-10T17:00", None, Some("EST")),
        ("2027-12-10T17:00", None, Some("Eastern Time (US & Canada)")),
        ("2027-12-10T17:00", None, Some("(GMT-05:00) Eastern Time (US & Canada)")),
        ("2027-12-10T17:00", None, Some("US Eastern Standard Time")),
        ("2027-12-10T17:00", None, Some("-05:00")),
        ("2027-12-10T17:00", None, Some("UTC-5")),
        ("2027-12-10T22:00:00Z", Some("9:00 AM"), Some("America/New_York")),
    ] {
        assert_eq!(
            at(date, time, zone).as_deref(),
            two.as_ref().map(|t| *t).map_err(Clone::clone),
            "{date} {time:?} {zone:?}"
        );
    }
}

#[test]
fn what_names_no_moment_is_no_moment() {
    for text in [
        "2027-12-10",
        "12/10/2027",
        "December 10, 2027",
        "20271210",
        "46731",
        "tomorrow",
        "ASAP",
        "N/A",
        "2:00 PM",
        "Dec 10 2pm",
        "12/10/2027 2:00 PM - 4:00 PM",
        "12/10/2027 2:00-4:00 PM",
        "12/10/2027 9:00-11:00",
        "2027-12-10 09:00-12:00",
        "12/10/2027 9am to 12pm",
        "12/10/2027 between 9 and 12",
        "12/10/2027 morning",
        "12/10/2027 2:00 PM or 12/11/2027 3:00 PM",
        "12/10/2027 - 12/12/2027",
        "2027-12-10T14:00/2027-12-10T16:00",
        "2027-12-10T14:00/PT2H",
        "Dates: Dec 13\nTimes: Morning (9am - 12pm)",
        "2027-12-10T14:00[Mars/Base]",
        "2027-12-10T14:00-08:00[America/New_York]",
        "12/10/2027 2:00 PM XYZ",
        "Monday, December 10, 2027 2:00 PM",
        "10-12-2027 14:00",
        "10.12.2027 14:00",
        "02/30/2027 2:00 PM",
        "13/45/2027 2:00 PM",
        "12/10/2027 25:00",
        "12/10/2027 14:00 AM",
        "12/10/1999 2:00 PM",
        "2101-01-01T00:00:00Z",
        "mm/dd/yyyy",
        "99999999999999999999",
        "Dec 10, 2027 2:00 PM - 2:30 PM",
        "12/10/2027 10:00-2:00",
        "12/10/2027 2:00 PM 12/11/2027",
        "12/10/2027 2:00 PM 3:00 PM",
        "12/10/2027 2:00 PM Dec 11",
        "2027-W49-5T14:00",
        "-1828476000",
        "",
    ] {
        assert!(matches!(at(text, None, None), Err(Unread::NoMoment(_))), "{text}: {:?}", at(text, None, None));
    }
    assert!(at("2027-12-10T14:00", None, Some("Mars")).is_err(), "a zone is never passed over");
    assert!(at("12/10/2027", Some("afternoon"), None).is_err());
    assert!(at("12/10/2027", Some("9am - 12pm"), None).is_err());
}

#[test]
fn a_day_before_its_month_is_never_another_date() {
    for text in ["21/12/2027 14:00", "21/12/2027, 00:00", "21-12-2027 14:00", "21.12.2027 14:00", "31/1/27 2pm"] {
        assert!(matches!(at(text, None, None), Err(Unread::Misleading(_))), "{text}: {:?}", at(text, None, None));
    }
    assert!(matches!(at("21/12/2027", Some("14:00"), None), Err(Unread::Misleading(_))));
    assert!(matches!(at("21/12/2027", None, None), Err(Unread::NoMoment(_))));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,40}", time in ".{0,12}") {
        let _ = (at(&text, None, None), at(&text, Some(&time), Some(&time)));
    }

    #[test]
    fn nothing_that_looks_like_a_date_makes_it_panic(text in "[0-9:/. TZapm+\\-()\\[\\]]{0,30}") {
        let _ = (at(&text, None, None), at(&text, Some(&text), Some(&text)));
    }
}
