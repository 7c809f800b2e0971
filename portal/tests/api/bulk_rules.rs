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
    assert_eq!(
        one.json()["detail"],
        "1 error; nothing was imported. Correct the row and send all of it again, or import the good rows with lenient=true."
    );

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
    assert_eq!(summary, json!({"created": 2, "updated": 0, "unchanged": 0, "deleted": 0, "rules": 3}));
    let csv = world.get("/api/routing-rules/export?format=csv").await.expect(200).text;
    let exported = world.get("/api/routing-rules/export?format=json").await.expect(200).json();
    let summary = import_csv(&world, &format!("{IMPORT}?replace=true"), &csv).await.expect(200).json();
    assert_eq!(summary, json!({"created": 0, "updated": 0, "unchanged": 3, "deleted": 0, "rules": 3}));
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
    assert_eq!(summary, json!({"created": 50, "updated": 0, "unchanged": 0, "deleted": 1, "rules": 50}));
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

const ROWS: &str = "external_id,workspace_id,product_types,zip_codes,priority\n\
    crm-1,solar_west_coast,Solar,90210,1\n\
    crm-2,solar_west_coast,Battery,CA,2\n";

#[tokio::test]
async fn the_same_import_twice_changes_nothing_by_external_ids() {
    let world = World::new().await;
    world.furnish().await;
    let changes = async |world: &World| world.all_pages("/api/settings/changes", 100).await.len();
    let before = changes(&world).await;
    let dry = import_csv(&world, &format!("{IMPORT}?dry_run=true"), ROWS).await.expect(200).json();
    let expected = json!({"created": 2, "updated": 0, "unchanged": 0, "deleted": 0, "rules": 3, "dry_run": true});
    assert_eq!(dry, expected);
    assert_eq!((world.present().rules.len(), changes(&world).await), (1, before), "nothing was done");

    import_csv(&world, IMPORT, ROWS).await.expect(200);
    let exported = world.get("/api/routing-rules/export").await.json();
    world.clock.advance_to(crate::world::at("2024-01-16T10:30:00Z"));
    let again = import_csv(&world, IMPORT, ROWS).await.expect(200).json();
    assert_eq!(again, json!({"created": 0, "updated": 0, "unchanged": 2, "deleted": 0, "rules": 3}));
    assert_eq!(world.get("/api/routing-rules/export").await.json(), exported);
    assert_eq!(changes(&world).await, before, "the tables are not written here, nor is the log");

    let changed = import_csv(&world, IMPORT, &ROWS.replace("90210", "902*")).await.expect(200).json();
    assert_eq!(changed, json!({"created": 0, "updated": 1, "unchanged": 1, "deleted": 0, "rules": 3}));
    let now = world.get("/api/routing-rules/export").await.json();
    assert_eq!(now[1]["id"], exported[1]["id"], "the rule is the same one");
    assert_eq!((&now[1]["zip_codes"], &now[1]["updated_at"]), (&json!(["902*"]), &json!("2024-01-16T10:30:00Z")));
    assert_eq!(now[2], exported[2]);

    // A row that names the rule by its id alone leaves it its external id.
    let mut row = rule();
    (row["id"], row["priority"]) = (now[1]["id"].clone(), json!(9));
    world.post(IMPORT, json!([row])).await.expect(200);
    let kept = world.get("/api/routing-rules/export").await.json();
    assert_eq!((&kept[1]["external_id"], &kept[1]["priority"]), (&json!("crm-1"), &json!(9)));
}

#[tokio::test]
async fn an_external_id_is_that_of_one_rule() {
    let world = World::new().await;
    world.furnish().await;
    import_csv(&world, IMPORT, ROWS).await.expect(200);
    let rules = world.get("/api/routing-rules/export").await.json();
    let taken = [("external_id".to_owned(), "taken".to_owned())];
    let mut row = rule();
    row["external_id"] = json!("crm-1");
    assert_eq!(world.post("/api/routing-rules", row.clone()).await.expect(422).errors(), taken);
    let other = format!("/api/routing-rules/{}", rules[2]["id"].as_str().unwrap());
    let patch = json!({"external_id": "crm-1"});
    assert_eq!(world.call("PATCH", &other, Some(patch)).await.expect(422).errors(), taken);
    row["id"] = rules[2]["id"].clone();
    assert_eq!(world.post(IMPORT, json!([row])).await.expect(422).errors()[0].0, "rows[1].external_id");
    let twice = format!("{ROWS}crm-2,solar_west_coast,Solar,10001,3\n");
    assert_eq!(import_csv(&world, IMPORT, &twice).await.expect(422).errors()[0].0, "rows[3].external_id");
}

#[tokio::test]
async fn a_lenient_import_takes_the_good_rows_and_reports_the_others_by_line_and_column() {
    let world = World::new().await;
    world.furnish().await;
    let text = "workspace_id,product_types,zip_codes,notes\n\
        solar_west_coast,Solar,90210,\"two\nlines\"\n\
        nobody,Solar,9021,\n\
        solar_west_coast,Solar\n\
        solar_west_coast,HVAC,CA,\n";
    let path = format!("{IMPORT}?lenient=true");
    let reply = import_csv(&world, &path, text).await.expect(200).json();
    let counts = ["created", "updated", "rules", "rejected"].map(|name| reply[name].as_u64().unwrap());
    assert_eq!(counts, [2, 0, 3, 2], "{reply}");
    let place = |e: &Value| {
        let number = |name: &str| e[name].as_u64().unwrap();
        (number("row"), number("line"), number("column"), e["field"].as_str().unwrap().to_owned())
    };
    let places: Vec<_> = reply["errors"].as_array().unwrap().iter().map(place).collect();
    let expected = [(2, 4, 1, "workspace_id"), (2, 4, 3, "zip_codes"), (3, 5, 1, "row")];
    assert_eq!(places, expected.map(|(row, line, column, field)| (row, line, column, field.to_owned())));

    let body = "[\n  {\"workspace_id\": \"solar_west_coast\", \"product_types\": [\"Solar\"], \"zip_codes\": [\"10001\"]},\n    7]";
    let reply = world.call_as(ADMIN_KEY, "POST", &path, Some(("application/json", body))).await.expect(200).json();
    assert_eq!(reply["created"], 1);
    assert_eq!(place(&reply["errors"][0]), (2, 3, 5, "row".to_owned()));
    let strict = world.call_as(ADMIN_KEY, "POST", IMPORT, Some(("application/json", body))).await.expect(422);
    assert!(strict.text.contains("(line 3, column 5)"), "{}", strict.text);

    let both = import_csv(&world, &format!("{IMPORT}?replace=true&lenient=true"), text).await.expect(422);
    assert_eq!(both.errors(), [("lenient".to_owned(), "invalid".to_owned())]);
}

#[tokio::test]
async fn an_export_comes_in_parts_and_has_every_rule_once() {
    let world = World::new().await;
    world.furnish().await;
    let rule = |n: usize| json!({"workspace_id": "solar_west_coast", "product_types": ["Solar"], "zip_codes": ["90210"], "external_id": format!("r{n}"), "notes": "x".repeat(200)});
    let rules: Vec<Value> = (0..1_200).map(rule).collect();
    world.post(&format!("{IMPORT}?replace=true"), json!(rules)).await.expect(200);
    for format in ["json", "csv"] {
        let path = format!("/api/routing-rules/export?format={format}");
        let mut body = world.open(crate::world::ADMIN_KEY, &path).await.into_body();
        let (mut bytes, mut largest) = (Vec::new(), 0);
        while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
            let part = frame.unwrap().into_data().unwrap();
            largest = largest.max(part.len());
            bytes.extend_from_slice(&part);
        }
        assert!(largest * 2 < bytes.len(), "{format}: {largest} of {} bytes at once", bytes.len());
        let names: Vec<String> = match format {
            "json" => {
                let all: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
                all.iter().map(|rule| rule["external_id"].as_str().unwrap().to_owned()).collect()
            }
            _ => csv::Reader::from_reader(&*bytes).records().map(|row| row.unwrap()[7].to_owned()).collect(),
        };
        let expected: Vec<&str> = rules.iter().map(|rule| rule["external_id"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{format}");
    }
    let empty = World::new().await;
    assert_eq!(empty.get("/api/routing-rules/export").await.expect(200).json(), json!([]));
    let csv = empty.get("/api/routing-rules/export?format=csv").await.expect(200).text;
    assert_eq!(csv, "id,workspace_id,product_types,zip_codes,priority,is_active,notes,external_id\n");
}

#[tokio::test]
async fn a_product_named_like_a_formula_is_none_in_csv_and_goes_round() {
    let world = World::new().await;
    world.furnish().await;
    let name = "=HYPERLINK(1)";
    world.post("/api/products", json!({"name": name})).await.expect(201);
    let rule = json!({"workspace_id": "solar_west_coast", "product_types": [name], "zip_codes": ["90210"]});
    world.post("/api/routing-rules", rule).await.expect(201);
    let before = world.get("/api/routing-rules/export").await.expect(200).text;
    let csv = world.get("/api/routing-rules/export?format=csv").await.expect(200).text;
    let cells: Vec<String> =
        csv::Reader::from_reader(csv.as_bytes()).records().map(|row| row.unwrap()[2].to_owned()).collect();
    assert_eq!(cells, ["Solar", "'=HYPERLINK(1)"]);
    world
        .call_as(crate::world::ADMIN_KEY, "POST", &format!("{IMPORT}?replace=true"), Some(("text/csv", &csv)))
        .await
        .expect(200);
    assert_eq!(world.get("/api/routing-rules/export").await.expect(200).text, before);
    let gaps = world.get("/api/routing/coverage/gaps?format=csv&state=CA").await.expect(200).text;
    assert!(gaps.contains("\n'=HYPERLINK(1),90001,CA,0\n") && !gaps.contains("\n="), "{}", &gaps[..200]);
}
