//! Import and export of rules.

use leadway_portal::Options;
use serde_json::{Value, json};

use crate::world::{ADMIN_KEY, Reply, World, rule};

const IMPORT: &str = "/api/routing-rules/import";

async fn import_csv(world: &World, path: &str, text: &str) -> Reply {
    world.call_as(ADMIN_KEY, "POST", path, Some(("text/csv", text))).await
}

#[tokio::test]
async fn one_wrong_row_and_nothing_is_imported() {
    let world = World::new().await;
    world.furnish().await;
    let before = world.get("/api/routing-rules/export").await.text;
    let text = "workspace_id,product_types,zip_codes,priority\n\
        solar_west_coast,Solar,90210|902*,1\n\
        nobody,Solar|Spaceships,90210,1\n\
        solar_west_coast,Solar,000*,-1\n";
    let reply = import_csv(&world, &format!("{IMPORT}?replace=true"), text).await.expect(422);
    let expected = [
        ("rows[2].product_types", "unknown"),
        ("rows[2].workspace_id", "unknown"),
        ("rows[3].priority", "invalid"),
        ("rows[3].zip_codes", "invalid"),
    ];
    assert_eq!(reply.errors(), expected.map(|(f, c)| (f.to_owned(), c.to_owned())));
    assert_eq!(world.get("/api/routing-rules/export").await.text, before);

    let one =
        import_csv(&world, IMPORT, "workspace_id,product_types,zip_codes\nnobody,Solar,90210\n").await.expect(422);
    assert_eq!(one.json()["detail"], "1 error; nothing was imported. Correct the row and send all of it again.");

    let mut wrong = rule();
    wrong["prioritee"] = json!(1);
    let reply = world.post(IMPORT, json!([rule(), wrong, 7])).await.expect(422);
    let fields: Vec<String> = reply.errors().into_iter().map(|(f, _)| f).collect();
    assert_eq!(fields, ["rows[2].prioritee", "rows[3].row"]);
    assert_eq!(world.get("/api/routing-rules/export").await.text, before);
}

#[tokio::test]
async fn an_export_imported_again_changes_nothing() {
    let world = World::new().await;
    world.furnish().await;
    let text = "workspace_id,product_types,zip_codes,priority,is_active,notes\n\
        solar_west_coast,Solar|Battery,90210+25mi 10001-10099,5,false,\"with a comma, and \"\"quotes\"\"\"\n\
        solar_west_coast,heat pumps,CA,0,,\n";
    let summary = import_csv(&world, IMPORT, text).await.expect(200).json();
    assert_eq!(summary, json!({"created": 2, "updated": 0, "deleted": 0, "rules": 3}));
    let csv = world.get("/api/routing-rules/export?format=csv").await.expect(200).text;
    let exported = world.get("/api/routing-rules/export?format=json").await.expect(200).json();
    let summary = import_csv(&world, &format!("{IMPORT}?replace=true"), &csv).await.expect(200).json();
    assert_eq!(summary, json!({"created": 0, "updated": 3, "deleted": 0, "rules": 3}));
    let again = world.get("/api/routing-rules/export?format=json").await.json();
    assert_eq!(again, exported, "CSV goes round");
    world.post(&format!("{IMPORT}?replace=true"), exported.clone()).await.expect(200);
    assert_eq!(world.get("/api/routing-rules/export").await.json(), exported, "JSON goes round");
    assert_eq!(exported[1]["notes"], "with a comma, and \"quotes\"");
    assert_eq!(exported[2]["product_types"], json!(["Heat Pump"]));
}

#[tokio::test]
async fn rows_keep_their_order_as_age_and_replace_deletes_the_rest() {
    let world = World::new().await;
    world.furnish().await;
    let rows: Vec<Value> = (0..50)
        .map(|n| {
            let mut row = rule();
            row["notes"] = json!(n.to_string());
            row
        })
        .collect();
    let summary = world.post(&format!("{IMPORT}?replace=true"), json!(rows)).await.expect(200).json();
    assert_eq!(summary, json!({"created": 50, "updated": 0, "deleted": 1, "rules": 50}));
    let exported = world.get("/api/routing-rules/export").await.json();
    let notes: Vec<&str> = exported.as_array().unwrap().iter().map(|r| r["notes"].as_str().unwrap()).collect();
    assert_eq!(notes, (0..50).map(|n| n.to_string()).collect::<Vec<_>>(), "the earlier row is the older rule");
    let later = world.post("/api/routing-rules", rule()).await.expect(201).json();
    assert!(later["id"].as_str() > exported[49]["id"].as_str());
    let twice = json!([exported[0], exported[0]]);
    assert_eq!(world.post(IMPORT, twice).await.expect(422).errors()[0].0, "rows[2].id");
}

#[tokio::test]
async fn more_rules_than_the_node_holds_are_refused() {
    let world = World::with(Options { max_rules: 2, ..Options::default() }).await;
    world.furnish().await;
    let reply = world.post(IMPORT, json!([rule(), rule()])).await.expect(422);
    assert!(reply.text.contains("LEADWAY_PORTAL__MAX_RULES"), "{}", reply.text);
    world.post(IMPORT, json!([rule()])).await.expect(200);
    world.post("/api/routing-rules", rule()).await.expect(422);
}
