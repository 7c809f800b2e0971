mod shapes;
mod values;

use super::*;
use crate::clock::Clock;
use crate::id::ProviderId;
use crate::lead::InterestLevel;
use crate::money::Money;
use crate::secret::KeyHash;
use crate::settings::{Change, DEFAULT_PRODUCTS, Entity, FieldMapping, Product};
use proptest::prelude::*;

fn settings() -> Settings {
    let mut settings = Settings::default();
    for (name, synonyms) in DEFAULT_PRODUCTS {
        settings.apply(&Change::Put(Entity::Product(Product {
            name: (*name).into(),
            synonyms: synonyms.iter().map(|s| (*s).into()).collect(),
            auto_schedule: false,
        })));
    }
    settings
}

fn provider(mapping: serde_json::Value) -> Provider {
    let now = Clock::manual("2024-01-15T10:30:00Z".parse().unwrap()).now();
    Provider {
        id: ProviderId::new("a").unwrap(),
        name: "Provider A".into(),
        cost_per_lead: Money::from_cents(7_500),
        is_active: true,
        key_hash: KeyHash::of("k"),
        mapping: serde_json::from_value(mapping).unwrap(),
        auto_schedule: false,
        rate_limit: None,
        posting: Default::default(),
        credentials: Default::default(),
        created_at: now,
        updated_at: now,
    }
}

fn normalise(provider: &Provider, posted_as: PostedAs, json: serde_json::Value) -> Result<Taken, Vec<FieldError>> {
    let mut bytes = serde_json::to_vec(&json).unwrap();
    let raw = simd_json::to_borrowed_value(&mut bytes).unwrap();
    let settings = settings();
    Intake {
        provider,
        settings: &settings,
        zips: &ZipDirectory::builtin(),
        posted_as,
        idempotency: None,
        max_bytes: 64 << 10,
        now: provider.created_at,
    }
    .normalise(&raw)
}

fn lead(json: serde_json::Value) -> Lead {
    taken(json).lead
}

fn taken(json: serde_json::Value) -> Taken {
    mapped(serde_json::json!({}), json)
}

/// What a provider with this mapping gets taken.
fn mapped(mapping: serde_json::Value, json: serde_json::Value) -> Taken {
    normalise(&provider(mapping), PostedAs::Lead, json.clone()).unwrap_or_else(|errors| panic!("{json}: {errors:?}"))
}

/// A complete lead with these fields besides.
fn with(fields: serde_json::Value) -> serde_json::Value {
    let mut json =
        serde_json::json!({"first_name": "Pat", "phone": "2135550123", "zip_code": "90210", "product_type": "Solar"});
    json.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json
}

/// The fields that are warned of.
fn warned(taken: &Taken) -> Vec<&str> {
    taken.warnings.iter().map(|warning| warning.field.as_str()).collect()
}

fn errors(json: serde_json::Value) -> Vec<(String, String)> {
    let errors = normalise(&provider(serde_json::json!({})), PostedAs::Lead, json).unwrap_err();
    errors.into_iter().map(|e| (e.field, e.code)).collect()
}

#[test]
fn a_full_lead_is_taken_field_by_field() {
    let lead = lead(serde_json::json!({
        "first_name": "John", "last_name": "Solar  Customer", "phone": "(213) 555-0123 ext. 4", "email": "John@Example.com",
        "product_type": "solar panels", "zip_code": "90210-1234", "estimated_value": 25000.5, "interest_level": "HOT",
        "notes": "10kW", "appointment_date": "2024-12-01T14:00:00Z", "external_id": "x-1", "roof_age": 12,
    }));
    assert_eq!((lead.first_name.as_str(), lead.last_name.as_str()), ("John", "Solar Customer"));
    assert_eq!(lead.phone.e164(), "+12135550123");
    assert_eq!(lead.email.as_deref(), Some("john@example.com"));
    assert_eq!((&*lead.product_type, &*lead.state), ("Solar", "CA"));
    assert_eq!(lead.zip_code.to_string(), "90210");
    assert_eq!(lead.estimated_value, Some(Money::from_cents(2_500_050)));
    assert_eq!(lead.interest_level, Some(InterestLevel::Hot));
    assert_eq!(lead.appointment_date, Some("2024-12-01T14:00:00Z".parse().unwrap()));
    assert_eq!(lead.extra.get("roof_age"), Some(&serde_json::json!(12)), "what nobody mapped is kept");
    assert_eq!(lead.cost, Money::from_cents(7_500));
}

#[test]
fn aliases_need_no_mapping() {
    let lead = lead(serde_json::json!({
        "Full Name": "Ana de la Cruz", "phone1": 2135550123u64, "Postal-Code": 2134, "service": "roof replacement",
        "mobile": "310 555 0199", "isTest": "yes", "budget": "$1,250.50",
    }));
    assert_eq!((lead.first_name.as_str(), lead.last_name.as_str()), ("Ana", "de la Cruz"));
    assert_eq!(lead.zip_code.to_string(), "02134");
    assert_eq!(&*lead.product_type, "Roofing");
    assert!(lead.test);
    assert_eq!(lead.estimated_value, Some(Money::from_cents(125_050)));
    let second_phone = lead.extra.get("mobile").or(lead.extra.get("phone1"));
    assert!(second_phone.is_some(), "the second telephone is kept: {:?}", lead.extra.keys().collect::<Vec<_>>());
}

#[test]
fn a_lead_of_many_fields_is_read_the_same_every_time() {
    // Large JSON objects are hash maps with a random order of their own.
    let mut json =
        serde_json::json!({"phone": "2135550123", "mobile": "3105550199", "zip": "90210", "product": "Solar"});
    for n in 0..60 {
        json[format!("answer_{n}")] = n.into();
    }
    let first = lead(json.clone());
    for _ in 0..30 {
        let again = lead(json.clone());
        assert_eq!((again.phone, again.submission), (first.phone, first.submission));
    }
}

#[test]
fn a_providers_mapping_wins_over_the_aliases() {
    let provider = provider(serde_json::json!({
        "fields": {"/contact/tel": "phone", "plz": "zip_code", "kind": "product_type"},
        "constants": {"interest_level": "warm", "product_type": "HVAC"},
        "values": {"product_type": {"PV-Anlage": "Solar"}},
    }));
    let post = |kind: &str| {
        normalise(
            &provider,
            PostedAs::Lead,
            serde_json::json!({"contact": {"tel": "2135550123", "best_time": "noon"}, "plz": "90210", "kind": kind}),
        )
        .unwrap()
        .lead
    };
    let solar = post("pv anlage");
    assert_eq!((&*solar.product_type, solar.interest_level), ("Solar", Some(InterestLevel::Warm)));
    assert_eq!(solar.extra["contact"]["best_time"], "noon", "what surrounds a mapped field is kept");
    assert_eq!(&*post("").product_type, "HVAC", "a constant fills an empty field");
}

#[test]
fn every_error_is_told_at_once() {
    let mut found = errors(serde_json::json!({"phone": "911", "zip": "00000", "product": "Spaceships"}));
    found.sort();
    let expected = [("phone", "invalid"), ("product_type", "unknown"), ("zip_code", "unknown")];
    assert_eq!(found, expected.map(|(f, c)| (f.to_owned(), c.to_owned())));
    let missing = errors(serde_json::json!({}));
    assert_eq!(missing, ["phone", "product_type", "zip_code"].map(|f| (f.to_owned(), "required".to_owned())));
    assert_eq!(
        errors(serde_json::json!({"phone": {"full": "2135550123"}, "zip": "90210", "product": "Solar"})),
        [("phone".to_owned(), "invalid".to_owned())]
    );
}

#[test]
fn an_optional_field_that_cannot_be_read_costs_no_lead() {
    let sent = serde_json::json!({
        "email": "nobody", "interest_level": "boiling", "estimated_value": -1, "appointment_date": "tomorrow",
        "first_name": "x".repeat(101), "last_name": "x".repeat(101), "test": "perhaps", "notes": "x".repeat(10_001),
        "external_id": "x".repeat(201),
    });
    let taken = taken(with(sent.clone()));
    let mut fields = warned(&taken);
    fields.sort_unstable();
    let expected = [
        "appointment_date",
        "email",
        "estimated_value",
        "external_id",
        "first_name",
        "interest_level",
        "last_name",
        "notes",
        "test",
    ];
    assert_eq!(fields, expected);
    assert_eq!(serde_json::Value::Object(taken.lead.extra), sent, "and nothing that was sent is lost");
    assert!(!taken.lead.test && taken.lead.external_id.is_none() && taken.lead.appointment_date.is_none());
}

#[test]
fn dates_are_read_in_the_customers_zone() {
    for (text, utc) in [
        ("2024-12-01T14:00:00Z", "2024-12-01T14:00:00Z"),
        ("2024-12-01T14:00:00-08:00", "2024-12-01T22:00:00Z"),
        ("2024-12-01T14:00", "2024-12-01T22:00:00Z"),
        ("2024-12-01 14:00:00", "2024-12-01T22:00:00Z"),
        ("12/01/2024 2:00 pm", "2024-12-01T22:00:00Z"),
        ("7/1/2024 14:00", "2024-07-01T21:00:00Z"),
    ] {
        let lead = lead(
            serde_json::json!({"phone": "2135550123", "zip": "90210", "product": "Solar", "appointment_date": text}),
        );
        assert_eq!(lead.appointment_date, Some(utc.parse().unwrap()), "{text}");
    }
    let bad = serde_json::json!({"phone": "2135550123", "zip": "1", "product": "Solar", "appointment_date": "2024-12-01T14:00"});
    assert_eq!(errors(bad), [("zip_code".to_owned(), "invalid".to_owned())], "without a ZIP there is no local time");
}

#[test]
fn an_appointment_needs_a_date() {
    let json = serde_json::json!({"customer_name": "J S", "customer_phone": "2135550123", "customer_zip": "90210", "service_type": "Solar"});
    let errors = normalise(&provider(serde_json::json!({})), PostedAs::Appointment, json).unwrap_err();
    assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["appointment_date"]);
    for date in ["2027-12-10", "12/10/2027 2:00 PM - 4:00 PM", "tomorrow", "N/A", "21/12/2027 14:00"] {
        let errors = normalise(
            &provider(serde_json::json!({})),
            PostedAs::Appointment,
            with(serde_json::json!({"appointment_date": date})),
        );
        let errors = errors.unwrap_err();
        assert_eq!((errors.len(), errors[0].field.as_str()), (1, "appointment_date"), "{date}");
    }
    let unread = with(serde_json::json!({"appointment_date": "12/10/2027 2pm", "email": "N/A"}));
    assert!(
        normalise(&provider(serde_json::json!({})), PostedAs::Appointment, unread).is_ok(),
        "only the date is strict"
    );
}

#[test]
fn submissions_are_told_apart_by_id_else_by_content() {
    let base = serde_json::json!({"phone": "2135550123", "zip": "90210", "product": "Solar"});
    let with = |field: &str, value: &str| {
        let mut json = base.clone();
        json[field] = value.into();
        lead(json).submission
    };
    assert_eq!(lead(base.clone()).submission, with("notes", " "), "an empty field is no difference");
    assert_ne!(lead(base.clone()).submission, with("notes", "x"));
    assert_ne!(lead(base.clone()).submission, with("roof", "x"), "unmapped fields count");
    assert_eq!(with("external_id", "7"), {
        let mut json = base.clone();
        json["external_id"] = "7".into();
        json["notes"] = "changed".into();
        lead(json).submission
    });
}

/// The fields of the errors that a mapping has.
fn wrong_in(mapping: serde_json::Value) -> Vec<String> {
    let mapping = serde_json::from_value::<FieldMapping>(mapping).unwrap();
    check_mapping(&mapping, &settings(), &ZipDirectory::builtin()).into_iter().map(|e| e.field).collect()
}

#[test]
fn a_mapping_names_fields_of_ours_and_well_formed_pointers() {
    let good = serde_json::json!({"fields": {"tel": "phone", "/contact/a~1b~0c": "email", "a~b": "notes",
        "/answers/[field.ref=phone]/phone_number": "phone"}});
    assert!(wrong_in(good).is_empty());
    let wrong = serde_json::json!({"fields": {"tel": "fone", "/a~2": "phone", "/a~": "phone", "": "email", "/a/[b]": "phone"},
        "constants": {"x": "y"}, "values": {"z": {}}});
    let expected = [
        "mapping.fields.",
        "mapping.fields./a/[b]",
        "mapping.fields./a~",
        "mapping.fields./a~2",
        "mapping.fields.tel",
        "mapping.constants.x",
        "mapping.values.z",
    ];
    assert_eq!(wrong_in(wrong), expected);
}

#[test]
fn what_a_mapping_makes_of_leads_is_what_their_fields_take() {
    let good = [
        ("product_type", "solar panels"),
        ("interest_level", "HOT"),
        ("phone", "213-555-0123"),
        ("zip_code", "90210"),
        ("email", "a@example.com"),
        ("appointment_date", "2024-12-01T14:00"),
        ("estimated_value", "$25,000"),
        ("test", "yes"),
        ("appointment_time", "2:00 PM"),
        ("appointment_time_zone", "Eastern Time"),
        ("notes", "from the fair"),
    ];
    let wrong = [
        ("product_type", "Spaceships"),
        ("interest_level", "lukewarm"),
        ("appointment_time", "afternoon"),
        ("appointment_time_zone", "Mars"),
        ("phone", "911"),
        ("zip_code", "00000"),
        ("email", "nobody"),
        ("appointment_date", "tomorrow"),
        ("estimated_value", "-1"),
        ("test", "perhaps"),
    ];
    for (field, value) in good {
        assert!(wrong_in(serde_json::json!({"constants": {field: value}})).is_empty(), "{field} {value}");
        assert!(wrong_in(serde_json::json!({"values": {field: {"x": value}}})).is_empty(), "{field} {value}");
    }
    for (field, value) in wrong {
        let constant = serde_json::json!({"constants": {field: value}});
        assert_eq!(wrong_in(constant), [format!("mapping.constants.{field}")], "{value}");
        let meant = serde_json::json!({"values": {field: {"x": value}}});
        assert_eq!(wrong_in(meant), [format!("mapping.values.{field}.x")], "{value}");
    }
    let many: serde_json::Map<_, _> = (0..500).map(|n| (format!("v{n}"), "Spaceships".into())).collect();
    assert_eq!(wrong_in(serde_json::json!({"values": {"product_type": many}})).len(), 100, "not all of them");
}

#[test]
fn a_lead_as_a_whole_is_bounded_and_its_largest_field_named() {
    let of = |size: usize| {
        serde_json::json!({"phone": "2135550123", "zip": "90210", "product": "Solar", "roof": "flat",
            "answers": {"why": ["x".repeat(size)]}})
    };
    assert!(lead(of(65_000)).extra.contains_key("answers"));
    let found = normalise(&provider(serde_json::json!({})), PostedAs::Lead, of(66_000)).unwrap_err();
    assert_eq!((found.len(), found[0].field.as_str(), found[0].code.as_str()), (1, "answers", "too_large"));
    assert!(found[0].message.contains("66") && found[0].message.contains("65536"), "{}", found[0].message);
    let many: serde_json::Map<_, _> = (0..290).map(|n| (format!("f{n}"), "x".repeat(300).into())).collect();
    assert_eq!(errors(many.into())[0].1, "too_large", "many small fields as well");
}

#[test]
fn a_lead_as_it_could_have_been_posted_is_the_same_lead() {
    let first = lead(serde_json::json!({
        "first_name": "Ana", "last_name": "Maria", "phone": "(213) 555-0123 ext. 4", "email": "a@example.com", "zip": "2134",
        "product": "solar panels", "estimated_value": 25000.5, "interest_level": "HOT", "notes": "call\nlate",
        "appointment_date": "2024-12-01T14:00:00Z", "external_id": "x-1", "roof": {"age": 12}, "test": true,
    }));
    assert_eq!(lead(first.as_posted()), first);
}

#[test]
fn the_key_of_a_request_and_the_providers_own_id_both_make_submissions() {
    let provider = provider(serde_json::json!({}));
    let keyed = |key, part, single, json: serde_json::Value| {
        let mut bytes = serde_json::to_vec(&json).unwrap();
        let raw = simd_json::to_borrowed_value(&mut bytes).unwrap();
        let (settings, zips) = (settings(), ZipDirectory::builtin());
        let idempotency = Some(Idempotency { key, part, single });
        let (posted_as, now) = (PostedAs::Lead, provider.created_at);
        let intake = Intake {
            provider: &provider,
            settings: &settings,
            zips: &zips,
            posted_as,
            idempotency,
            max_bytes: 64 << 10,
            now,
        };
        intake.normalise(&raw).unwrap().lead
    };
    let base = serde_json::json!({"phone": "2135550123", "zip": "90210", "product": "Solar"});
    let mut other = base.clone();
    other["phone"] = "3105550101".into();
    let one = keyed("k", 0, true, base.clone());
    assert_eq!((one.submission, one.also), (keyed("k", 0, true, other.clone()).submission, None));
    assert_ne!(one.submission, keyed("l", 0, true, base.clone()).submission);
    let part = keyed("k", 0, false, base.clone()).submission;
    assert_eq!(part, keyed("k", 5, false, base.clone()).submission, "whatever its number");
    assert_ne!(part, keyed("k", 0, false, other).submission);
    assert_ne!(part, keyed("l", 0, false, base.clone()).submission);
    assert_ne!(part, one.submission);
    let mut named = base;
    named["external_id"] = "x".into();
    let by_id = lead(named.clone());
    assert_eq!(by_id.also, None);
    for single in [true, false] {
        let both = keyed("k", 0, single, named.clone());
        assert_eq!(both.also, Some(by_id.submission), "the id is unique whatever the key");
        assert_ne!(both.submission, by_id.submission);
    }
}

proptest! {
    #[test]
    fn no_json_makes_it_panic(fields in proptest::collection::btree_map("(phone|zip|product|email|date|notes|[a-z]{1,8})", ".{0,30}", 0..8)) {
        let _ = normalise(&provider(serde_json::json!({})), PostedAs::Lead, serde_json::to_value(fields).unwrap());
    }
}
