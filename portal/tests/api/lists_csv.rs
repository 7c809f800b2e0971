//! Lists as CSV.

use leadway_tables::TableRow;
use leadway_tables::schema::{LeadRow, bucket};

use crate::world::{World, at};

#[tokio::test]
async fn every_list_of_leads_and_money_is_csv_too_and_says_the_same() {
    let world = World::new().await;
    world.furnish().await;
    world.grow_log(1_300).await;
    let mut rows = Vec::new();
    for n in 0..1_203u64 {
        let id = world.lead_id((n % 3) as u32, n / 3);
        rows.extend(world.lead(id, at("2024-01-15T10:00:00Z")).1);
        if n == 7 {
            let key = bucket(world.addressing, id).unwrap();
            let notes = Some("=HYPERLINK(\"http://x\"), \"quoted\"".to_owned());
            rows.push(LeadRow { notes, ..LeadRow::new(key, id) }.upsert());
        }
    }
    world.write(rows).await;
    let reply = world.get("/api/leads?format=csv&limit=7&provider_id=a").await.expect(200);
    assert_eq!(reply.headers["content-type"], "text/csv; charset=utf-8");
    let mut csv = csv::Reader::from_reader(reply.text.as_bytes());
    let head = csv.headers().unwrap().clone();
    let at_column = |name: &str| head.iter().position(|column| column == name).unwrap();
    let found: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    let listed = world.all_pages("/api/leads?provider_id=a", 500).await;
    assert_eq!(found.len(), 1_203, "all of them, though a page has 500");
    for (row, lead) in found.iter().zip(&listed) {
        assert_eq!(row[at_column("lead_id")], lead["lead_id"].to_string());
        assert_eq!(row[at_column("phone")], *lead["phone"].as_str().unwrap());
        assert_eq!(row[at_column("state")], *lead["state"].as_str().unwrap_or_default());
    }
    let notes: Vec<&str> = found.iter().map(|row| &row[at_column("notes")]).filter(|n| n.contains("HYPER")).collect();
    assert_eq!(notes, ["'=HYPERLINK(\"http://x\"), \"quoted\""], "no spreadsheet runs it");
    for path in [
        "/api/appointments",
        "/api/contacts",
        "/api/unrouted",
        "/api/quarantine",
        "/api/billing/events",
        "/api/billing/margin",
        "/api/billing/reconciliation",
        "/api/analytics/performance",
    ] {
        let reply = world.get(&format!("{path}?format=csv")).await.expect(200);
        let mut csv = csv::Reader::from_reader(reply.text.as_bytes());
        let head = csv.headers().unwrap().clone();
        let rows = csv.records().map(Result::unwrap).count();
        let whole = world.get(&format!("{path}?format=json")).await.expect(200).json();
        let items = ["items", "rows", "workspaces"].into_iter().find_map(|name| whole[name].as_array()).unwrap();
        assert_eq!(rows, items.len(), "{path}");
        // Every column is one that the rows have: where there are rows, no column is empty for a wrong name.
        if let Some(item) = items.first() {
            let outer = |column: &str| column.split('/').next().unwrap().to_owned();
            let groups = ["day", "workspace_id", "provider_id", "product_type"];
            let unknown: Vec<&str> =
                head.iter().filter(|c| item.get(outer(c)).is_none() && !groups.contains(c)).collect();
            assert!(unknown.is_empty(), "{path}: {unknown:?}");
        }
    }
    world.get("/api/leads?format=xls").await.expect(422);
    world.get("/api/leads?format=csv&status=gone").await.expect(422);
    world.get("/api/providers?format=csv").await.expect(422);
}
