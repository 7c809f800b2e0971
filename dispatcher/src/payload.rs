//! What a client reads: the JSON body of a webhook.

use leadway_domain::phone::PhoneFormat;
use leadway_domain::record::{Appointment, RoutingMethod};
use leadway_domain::{LeadId, Money, Timestamp, WorkspaceId, Zip};
use serde::Serialize;

/// Room for most bodies: growing one step by step costs more than making it.
const USUAL_LENGTH: usize = 640;

/// Exactly the twelve fields of seed 004, "PAYLOAD CONSTRUCTION", in its order.
#[derive(Serialize)]
struct Payload<'a> {
    appointment_id: LeadId,
    customer_name: &'a str,
    customer_phone: String,
    customer_email: Option<&'a str>,
    service_type: &'a str,
    customer_zip: &'a Zip,
    appointment_date: Timestamp,
    estimated_value: Option<Money>,
    notes: &'a str,
    routing_method: RoutingMethod,
    matched_at: Timestamp,
    workspace_id: &'a WorkspaceId,
}

/// The body for `appointment`, with the telephone in the form that the workspace reads.
pub(crate) fn body(appointment: &Appointment, phone_format: PhoneFormat) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = Vec::with_capacity(USUAL_LENGTH);
    let payload = Payload {
        appointment_id: appointment.appointment_id,
        customer_name: &appointment.customer_name,
        customer_phone: appointment.customer_phone.format(phone_format),
        customer_email: appointment.customer_email.as_deref(),
        service_type: &appointment.service_type,
        customer_zip: &appointment.customer_zip,
        appointment_date: appointment.appointment_date,
        estimated_value: appointment.estimated_value,
        notes: &appointment.notes,
        routing_method: appointment.routing_method,
        matched_at: appointment.matched_at,
        workspace_id: &appointment.workspace_id,
    };
    serde_json::to_writer(&mut body, &payload)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::appointment;

    #[test]
    fn the_body_has_the_twelve_fields_of_the_seed() {
        let mut given = appointment(12_345, "solar_west_coast");
        given.customer_email = Some("john@example.com".into());
        given.estimated_value = Some(Money::from_cents(2_500_000));
        given.notes = "Interested in 10kW solar system".into();
        let text = String::from_utf8(body(&given, PhoneFormat::Dashed).unwrap()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"appointment_id":12345,"customer_name":"John Solar Customer","customer_phone":"213-555-0123","#,
                r#""customer_email":"john@example.com","service_type":"Solar","customer_zip":"90210","#,
                r#""appointment_date":"2024-12-01T14:00:00Z","estimated_value":25000,"#,
                r#""notes":"Interested in 10kW solar system","routing_method":"auto","#,
                r#""matched_at":"2024-01-15T10:30:00Z","workspace_id":"solar_west_coast"}"#
            )
        );
    }

    #[test]
    fn what_is_not_known_is_null_and_notes_are_empty() {
        let text = body(&appointment(1, "w"), PhoneFormat::E164).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert!(json["customer_email"].is_null() && json["estimated_value"].is_null());
        assert_eq!((json["notes"].as_str(), json["customer_phone"].as_str()), (Some(""), Some("+12135550123")));
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(12));
    }
}
