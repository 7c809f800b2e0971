//! Appointments whose date is over are sold to nobody who does not take them.

use leadway_domain::secret::KeyHash;
use leadway_domain::settings::{Posting, Provider};

use super::*;

/// An hour before now, to the second; the lead itself arrived a second ago.
const AN_HOUR_AGO: &str = "2024-11-27T11:00:00Z";
const EARLIER: &str = "2024-11-27T10:59:58Z";

/// Leads of this provider in 90210 go to `west`, which says this of such dates.
fn fixture(provider: PastDates, workspace_says: Option<PastDates>) -> Fixture {
    let mut fixture = Fixture::new(&[]);
    let west = Workspace { past_dates: workspace_says, ..workspace("west") };
    fixture.settings.apply(&Change::Put(Entity::Workspace(west)));
    fixture.settings.apply(&Change::Put(Entity::Provider(provider_that(provider))));
    fixture.rule(1, "west", "Solar", "90210", 1);
    fixture
}

fn provider_that(past_dates: PastDates) -> Provider {
    Provider {
        posting: Posting { past_dates, ..Posting::default() },
        ..serde_json::from_value(serde_json::json!({
            "id": "a", "name": "A", "cost_per_lead": 75, "is_active": true, "key_hash": KeyHash::of("key"),
            "created_at": NOW, "updated_at": NOW,
        }))
        .unwrap()
    }
}

#[test]
fn a_lead_that_comes_with_a_date_that_is_over_waits_for_another() {
    use PastDates::{Refuse, Take};
    for (provider, workspace_says, sold) in [
        (Refuse, None, false),
        (Take, None, true),
        (Refuse, Some(Take), true),
        (Take, Some(Refuse), false),
        (Refuse, Some(Refuse), false),
    ] {
        let fixture = fixture(provider, workspace_says);
        let recent = routed(fixture.receive(&dated(AN_HOUR_AGO)).unwrap().unwrap());
        assert_eq!(recent.appointment_date, at(AN_HOUR_AGO), "clocks differ");
        let name = format!("{provider:?} {workspace_says:?}");
        let decided = fixture.receive(&Lead { auto_schedule: true, ..dated(EARLIER) }).unwrap();
        assert_eq!(decided.is_some(), sold, "{name}");

        let asked = |date: &str| {
            let action = LeadAction::Schedule { appointment_date: Some(at(date)) };
            fixture.command(action, Some((&dated(EARLIER), Standing::Waiting)))
        };
        assert!(matches!(asked(AN_HOUR_AGO), AppointmentRecord::Routed(_)), "{name}");
        assert_eq!(matches!(asked(EARLIER), AppointmentRecord::Routed(_)), sold, "{name}");
        assert!(matches!(asked(DATE), AppointmentRecord::Routed(_)), "{name}: the way out");
        if !sold {
            let expected = format!(
                "the date asked for, {EARLIER}, is over; give the lead a new one with POST /api/leads/5000/schedule"
            );
            assert_eq!(refusal(asked(EARLIER)), expected, "{name}: a refused date leaves the lead as it stands");
            let assign = LeadAction::Assign { workspace_id: workspace_id("west") };
            let assigned = fixture.command(assign, Some((&dated(EARLIER), Standing::Waiting)));
            assert_eq!(refusal(assigned), expected, "{name}");
        }
    }
}

#[test]
fn a_date_that_was_over_before_any_rule_took_the_lead_waits_as_well() {
    let mut fixture = Fixture::new(&["west"]);
    assert_eq!(fixture.receive(&dated(EARLIER)), Ok(None));
    fixture.rule(1, "west", "Solar", "90210", 1);
    let standing = Standing::Unrouted { decision: 1, appointment_date: Some(at(AN_HOUR_AGO)) };
    let retried = fixture.command(LeadAction::Retry, Some((&dated(AN_HOUR_AGO), standing)));
    assert!(matches!(retried, AppointmentRecord::Routed(_)), "still recent");
}
