//! Where values stand in what was posted, and under which names.

use serde_json::json;

use super::*;

#[test]
fn a_documented_name_wins_wherever_it_stands_and_of_aliases_the_longer() {
    for (sent, field, value) in [
        (json!({"service": "Roofing", "product_type": "Solar"}), "product_type", "Solar"),
        (json!({"product_type": "Solar", "service": "Roofing"}), "product_type", "Solar"),
        (json!({"service": "Glass cleaning", "Product Type": "Windows"}), "product_type", "Windows"),
        (json!({"service": "Roofing", "service_type": "Solar"}), "product_type", "Solar"),
        (json!({"trade": "Roofing", "product": "Solar"}), "product_type", "Solar"),
    ] {
        let mut json = json!({"phone": "2135550123", "zip_code": "90210"});
        json.as_object_mut().unwrap().extend(sent.as_object().unwrap().clone());
        let lead = lead(json);
        assert_eq!(&*lead.product_type, value, "{field} of {sent}");
        assert_eq!(lead.extra.len(), 1, "what was displaced is kept: {:?}", lead.extra);
    }
    let read = lead(json!({"id": "form-12", "service": "Solar", "budget": 5, "lead_id": "x", "external_id": "L-1",
        "estimated_value": 25000, "zip": "10001", "zip_code": "90210", "mobile": "3105550199", "phone": "2135550123"}));
    assert_eq!((read.external_id.as_deref(), read.estimated_value), (Some("L-1"), Some(Money::from_cents(2_500_000))));
    assert_eq!((read.zip_code.to_string().as_str(), read.phone.e164().as_str()), ("90210", "+12135550123"));
    let kept: Vec<_> = read.extra.keys().map(String::as_str).collect();
    assert_eq!(kept, ["budget", "id", "lead_id", "mobile", "zip"]);
}

#[test]
fn a_bare_id_identifies_nothing_unless_mapped() {
    let sent = with(json!({"id": "form-12", "source_id": "campaign"}));
    assert_eq!(lead(sent.clone()).external_id, None);
    assert_eq!(mapped(json!({"fields": {"id": "external_id"}}), sent).lead.external_id.as_deref(), Some("form-12"));
    for id in ["N/A", "{{lead_id}}", "null", "undefined", "[id]"] {
        let taken = taken(with(json!({"external_id": id})));
        assert_eq!((taken.lead.external_id.as_deref(), warned(&taken)), (None, vec!["external_id"]), "{id}");
    }
}

#[test]
fn a_large_lead_is_read_by_the_same_rules_as_a_small_one() {
    let mut json = json!({"service": "Roofing", "product_type": "Solar", "mobile": "3105550199", "phone_number": "2135550123",
        "cell": "4155550123", "zip_code": "90210", "budget": 5, "estimated_value": 25000});
    let small = lead(json.clone());
    for n in 0..60 {
        json[format!("answer_{n}")] = n.into();
    }
    for _ in 0..20 {
        let large = lead(json.clone());
        assert_eq!(
            (large.phone, &large.product_type, large.estimated_value),
            (small.phone, &small.product_type, small.estimated_value)
        );
        assert_eq!(large.phone.e164(), "+12135550123", "the longest name");
    }
}

#[test]
fn what_is_no_value_of_a_field_is_kept_and_costs_nothing() {
    let details = json!([{"question": "Roof", "answer": "Tile"}]);
    for name in
        ["details", "notes", "email", "budget", "interest", "appointment", "test", "lead_id", "name", "timezone"]
    {
        let lead = lead(with(json!({name: details})));
        assert_eq!(lead.extra.get(name), Some(&details), "{name}");
    }
    let sent = json!({"name": {"first": "Pat", "last": "Sample"}, "phone": {"full": "(213) 555-0123"}, "service": "Solar", "zip": "90210"});
    let mapping = json!({"fields": {"/name/first": "first_name", "/name/last": "last_name", "/phone/full": "phone"}});
    let read = mapped(mapping, sent.clone());
    assert_eq!((read.lead.customer_name().as_str(), read.lead.phone.e164().as_str()), ("Pat Sample", "+12135550123"));
    assert_eq!(read.lead.extra["phone"], sent["phone"]);
    assert!(read.warnings.is_empty(), "{:?}", read.warnings);
}

#[test]
fn a_list_of_one_is_what_it_holds() {
    let read = lead(
        json!({"name": ["Pat Sample"], "phone": ["2135550123"], "service": ["Solar"], "zip": [90210], "email": [null], "notes": []}),
    );
    assert_eq!((read.customer_name().as_str(), read.zip_code.to_string().as_str()), ("Pat Sample", "90210"));
    let several = errors(json!({"phone": "2135550123", "service": ["Solar", "Roofing"], "zip": "90210"}));
    assert_eq!(several, [("product_type".to_owned(), "invalid".to_owned())]);
}

#[test]
fn answers_of_form_builders_are_selected_by_their_neighbours() {
    let google = json!({"lead_id": "g", "user_column_data": [
        {"column_id": "POSTAL_CODE", "string_value": "90210"}, {"column_id": "FULL_NAME", "string_value": "Pat Sample"},
        {"column_id": "PHONE_NUMBER", "string_value": "+12135550123"}], "is_test": true});
    let facebook = json!({"field_data": [{"name": "zip", "values": ["90210"]}, {"name": "full_name", "values": ["Pat Sample"]},
        {"name": "phone_number", "values": ["+12135550123"]}]});
    let typeform = json!({"form_response": {"answers": [
        {"type": "text", "text": "Pat Sample", "field": {"ref": "who"}}, {"type": "phone_number", "phone_number": "+12135550123", "field": {"ref": "tel"}},
        {"type": "number", "number": 90210, "field": {"ref": "zip"}}]}});
    let jotform = json!({"rawRequest": json!({"q1": {"first": "Pat", "last": "Sample"}, "q2": {"full": "(213) 555-0123"}, "q3": ["90210"]}).to_string()});
    for (sent, name, phone, zip) in [
        (
            google,
            "/user_column_data/[column_id=FULL_NAME]/string_value",
            "/user_column_data/[column_id=PHONE_NUMBER]/string_value",
            "/user_column_data/[column_id=POSTAL_CODE]/string_value",
        ),
        (
            facebook,
            "/field_data/[name=full_name]/values",
            "/field_data/[name=phone_number]/values/0",
            "/field_data/[name=zip]/values",
        ),
        (
            typeform,
            "/form_response/answers/[field.ref=who]/text",
            "/form_response/answers/[field.ref=tel]/phone_number",
            "/form_response/answers/[field.ref=zip]/number",
        ),
        (jotform, "/rawRequest/q1/first", "/rawRequest/q2/full", "/rawRequest/q3"),
    ] {
        let mapping = json!({"fields": {name: "customer_name", phone: "phone", zip: "zip_code"}, "constants": {"product_type": "Solar"}});
        let read = mapped(mapping, sent).lead;
        assert_eq!(
            (read.first_name.as_str(), read.phone.e164().as_str(), read.zip_code.to_string().as_str()),
            ("Pat", "+12135550123", "90210")
        );
    }
}

#[test]
fn a_mapped_field_that_is_displaced_is_kept() {
    let mapping = json!({"fields": {"a_tel": "phone", "b_tel": "phone"}});
    let read = mapped(mapping, with(json!({"a_tel": "2135550100", "b_tel": "2135550101"}))).lead;
    assert_eq!(read.phone.e164(), "+12135550100");
    assert_eq!((&read.extra["b_tel"], &read.extra["phone"]), (&json!("2135550101"), &json!("2135550123")));
}

#[test]
fn a_second_phone_is_tried_when_the_first_cannot_be_read() {
    for (first, second) in [
        (json!({"phone": "call me"}), json!({"mobile": "2135550123"})),
        (json!({"phone": "555-0100"}), json!({"phone2": "2135550123"})),
        (json!({"phone1": "+44 20 7946 0958"}), json!({"alt_phone": "2135550123"})),
        (json!({"home_phone": "N/A"}), json!({"work_phone": "2135550123"})),
        (json!({"phone": {"a": "b"}}), json!({"Cell Phone": "2135550123"})),
    ] {
        let mut json = json!({"zip": "90210", "product": "Solar"});
        for part in [&first, &second] {
            json.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        let read = taken(json);
        assert_eq!(read.lead.phone.e164(), "+12135550123", "{first}");
        assert_eq!(serde_json::Value::Object(read.lead.extra.clone()), first, "the first is kept");
    }
    let none = errors(json!({"phone": "call me", "mobile": "911", "zip": "90210", "product": "Solar"}));
    assert_eq!(none, [("phone".to_owned(), "invalid".to_owned())], "one error for one field");
    let both = lead(with(json!({"phone2": "3105550199"})));
    assert_eq!((both.phone.e164().as_str(), &both.extra["phone2"]), ("+12135550123", &json!("3105550199")));
}

#[test]
fn flags_of_other_systems_say_that_it_is_a_test() {
    for (name, value) in [
        ("test", json!(true)),
        ("Test_Lead", json!("1")),
        ("is_test", json!(1)),
        ("isTest", json!("yes")),
        ("lp_test", json!("1")),
        ("testmode", json!("yes")),
        ("test_mode", json!("on")),
        ("lp_action", json!("test")),
        ("mode", json!("TEST")),
        ("lead_type", json!("test")),
        ("environment", json!("sandbox")),
        ("xxTest", json!("true")),
        ("ckm_test", json!(1)),
        ("is_test_lead", json!("Y")),
        ("IsTest", json!(1.0)),
        ("email", json!("<test lead: dummy data for email>")),
        ("full_name", json!("<test lead: dummy data for full_name>")),
    ] {
        assert!(lead(with(json!({name: value}))).test, "{name}={value}");
    }
    for (name, value) in [
        ("test", json!(false)),
        ("lp_test", json!("0")),
        ("lp_action", json!("post")),
        ("mode", json!("live")),
        ("test", json!("B")),
        ("is_test", json!("no")),
        ("testmode", json!("")),
    ] {
        assert!(!lead(with(json!({name: value}))).test, "{name}={value}");
    }
    assert_eq!(lead(with(json!({"mode": "full"}))).extra["mode"], "full");
}
