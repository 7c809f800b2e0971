//! A stream of realistic leads, and what became of them.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::client::Receiver;
use super::sample::{SampleProvider, Style};
use super::{Api, DemoOptions};

const FIRST_NAMES: [&str; 12] =
    ["Maria", "James", "Linda", "Robert", "Ana", "David", "Susan", "Wei", "Karen", "José", "Emily", "Omar"];
const LAST_NAMES: [&str; 12] = [
    "Garcia",
    "Smith",
    "Johnson",
    "Nguyen",
    "de la Cruz",
    "Brown",
    "Davis",
    "Chen",
    "Miller",
    "O'Neil",
    "Wilson",
    "Haddad",
];
/// Places with their area codes.
const PLACES: [(&str, &str); 10] = [
    ("90210", "310"),
    ("94110", "415"),
    ("92101", "619"),
    ("89101", "702"),
    ("10001", "212"),
    ("11201", "718"),
    ("07302", "201"),
    ("60601", "312"),
    ("60614", "773"),
    ("33101", "305"),
];
const WISHES: [(&str, u32, &str); 8] = [
    ("Solar", 25_000, "Interested in 10kW solar system"),
    ("solar panels", 18_000, "South-facing roof, 6 kW"),
    ("HVAC", 9_500, "Furnace is 20 years old"),
    ("heat pump", 14_000, "Wants to replace gas"),
    ("kitchen remodel", 32_000, "Open plan, new island"),
    ("Bathroom", 15_000, "Walk-in shower"),
    ("roof replacement", 17_500, "Hail damage in spring"),
    ("Gutters", 2_400, "Leaf guards too"),
];

/// One lead before its provider gives it its form.
struct Prospect {
    first: &'static str,
    last: &'static str,
    phone: String,
    zip: &'static str,
    wish: (&'static str, u32, &'static str),
    date: String,
    number: u64,
}

/// Sends leads at the rate asked for.
pub(crate) async fn send(
    api: &Api,
    providers: &[SampleProvider],
    receiver: &Receiver,
    options: DemoOptions,
) -> anyhow::Result<()> {
    let mut random = fastrand::Rng::new();
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / options.rate.clamp(0.01, 1_000.0)));
    let mut report = tokio::time::interval(Duration::from_secs(15));
    report.tick().await;
    let mut number = 0;
    while options.leads.is_none_or(|limit| number < limit) {
        tokio::select! {
            _ = ticks.tick() => {
                number += 1;
                let provider = random.choice(providers).context("there are providers")?;
                post(api, provider, &prospect(&mut random, number)).await?;
            }
            _ = report.tick() => summary(api, receiver).await?,
        }
    }
    // The last ones are on their way.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

fn prospect(random: &mut fastrand::Rng, number: u64) -> Prospect {
    let (zip, area) = *random.choice(&PLACES).unwrap_or(&PLACES[0]);
    let days = random.i64(1..14);
    let day = leadway_domain::Clock::system().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = day.checked_add(jiff::Span::new().days(days)).unwrap_or(day);
    Prospect {
        first: random.choice(&FIRST_NAMES).copied().unwrap_or_default(),
        last: random.choice(&LAST_NAMES).copied().unwrap_or_default(),
        // 555-01XX is kept for fiction.
        phone: format!("({area}) 555-01{:02}", random.u32(0..100)),
        zip,
        wish: *random.choice(&WISHES).unwrap_or(&WISHES[0]),
        date: format!("{day}T{:02}:00", random.u32(9..17)),
        number,
    }
}

#[allow(clippy::print_stdout)] // the terminal is the demo's output
async fn post(api: &Api, provider: &SampleProvider, p: &Prospect) -> anyhow::Result<()> {
    let request =
        api.http.post(format!("{}/webhook/provider-{}", api.base, provider.id)).header("x-api-key", &provider.key);
    let (product, value, notes) = p.wish;
    let mail = format!("{}.{}@example.com", p.first.to_lowercase(), p.number).replace('é', "e");
    let request = match provider.style {
        Style::Plain => request.json(&json!({
            "first_name": p.first, "last_name": p.last, "phone": p.phone, "email": mail, "product_type": product,
            "zip_code": p.zip, "estimated_value": value, "interest_level": "hot", "notes": notes,
            "appointment_date": p.date, "external_id": format!("A-{}", p.number),
        })),
        Style::Mapped => request.json(&json!({
            "prospect": {"name": format!("{} {}", p.first, p.last), "tel": p.phone, "mail": mail},
            "plz": p.zip, "wants": product, "when": p.date, "ref": p.number, "campaign": "spring",
        })),
        Style::Form => {
            let form = [
                ("fname", p.first),
                ("lname", p.last),
                ("phone1", &p.phone),
                ("email", &mail),
                ("service", product),
                ("zip", p.zip),
                ("comments", notes),
                ("appointment_time", &p.date),
                ("leadid", &format!("C{}", p.number)),
            ];
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            request.header("content-type", "application/x-www-form-urlencoded").body(body)
        }
    };
    let started = tokio::time::Instant::now();
    let answer = request.send().await?;
    let took = started.elapsed().as_secs_f64() * 1e3;
    let status = answer.status().as_u16();
    let body: Value = answer.json().await?;
    let id = body.get("lead_id").and_then(Value::as_u64).unwrap_or_default();
    println!(
        "  {id:>10}  ← provider-{}: {product} in {}, {status} {} after {took:.1} ms",
        provider.id,
        p.zip,
        body.get("status").and_then(Value::as_str).unwrap_or("refused")
    );
    tokio::spawn(tell_if_unrouted(api.clone(), id));
    Ok(())
}

/// Tells of a lead that no rule takes.
#[allow(clippy::print_stdout)] // the terminal is the demo's output
async fn tell_if_unrouted(api: Api, id: u64) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    let appointment = api.get(&format!("/api/appointments/{id}")).await.unwrap_or_default();
    if let Some(reason) = appointment.get("unrouted_reason").and_then(Value::as_str) {
        let reason = reason.split(';').next().unwrap_or_default();
        println!("  {id:>10}  … held: {reason}");
    }
}

/// What the API says so far.
#[allow(clippy::print_stdout)] // the terminal is the demo's output
pub(crate) async fn summary(api: &Api, receiver: &Receiver) -> anyhow::Result<()> {
    let day = leadway_domain::Clock::system().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let range = format!("from={day}&to={}", day.tomorrow()?);
    let performance = api.get(&format!("/api/analytics/performance?{range}")).await?;
    let reconciliation = api.get(&format!("/api/billing/reconciliation?{range}")).await?;
    let total = |field: &str| performance.pointer(&format!("/rows/0/{field}")).cloned().unwrap_or_default();
    let (leads, appointments, unrouted) = (total("leads"), total("appointments"), total("unrouted"));
    println!("\n  — {leads} leads, {appointments} appointments, {} delivered, {unrouted} held", total("delivered"));
    println!(
        "  — routing p50 {} ms, p99 {} ms; delivery p50 {} ms, p99 {} ms",
        total("routing_latency/p50_ms"),
        total("routing_latency/p99_ms"),
        total("delivery_latency/p50_ms"),
        total("delivery_latency/p99_ms")
    );
    let counts = receiver.counts();
    println!(
        "  — clients took {}, were busy {} times, met {} bad signatures",
        counts.taken, counts.refused, counts.forged
    );
    let differences = reconciliation.get("differences_total").and_then(Value::as_u64).unwrap_or_default();
    println!("  — billed ${}; reconciliation finds {differences} differences\n", total("revenue"));
    Ok(())
}
