//! Leads in whatever form the software of providers sends them.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use leadway_domain::settings::{Entity, Posting, Provider};

use crate::node::{KEY, LEAD, Node, provider};

const XML: &str = "<?xml version=\"1.0\"?><Lead><FirstName>Ana</FirstName><PhoneNumber>2135550123</PhoneNumber>\
    <ServiceName>Solar</ServiceName><Zip>90210</Zip><Source id='7'><Site>x</Site></Source></Lead>";
const MULTIPART: &str = "--XX\r\nContent-Disposition: form-data; name=\"first_name\"\r\n\r\nAna\r\n--XX\r\n\
    Content-Disposition: form-data; name=\"phone\"\r\n\r\n(213) 555-0123\r\n--XX\r\nContent-Disposition: form-data; \
    name=\"product_type\"\r\n\r\nSolar\r\n--XX\r\nContent-Disposition: form-data; name=\"zip_code\"\r\n\r\n90210\r\n--XX--\r\n";
const FORM: &str = "first_name=Ana&phone=2135550123&product_type=Solar&zip_code=90210";

async fn post(node: &Node, media_type: &str, body: impl Into<Bytes>) -> crate::node::Answer {
    node.post("/webhook/provider-a", &[("x-api-key", KEY), ("content-type", media_type)], body).await
}

async fn posting(node: &Node, posting: Posting) {
    node.put([Entity::Provider(Provider { posting, ..provider("a") })]).await;
}

#[tokio::test]
async fn every_form_of_a_lead_is_read_whatever_its_type_says() {
    for body in [XML, MULTIPART, FORM, LEAD] {
        for media_type in [
            "application/json",
            "text/plain;charset=UTF-8",
            "application/octet-stream",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=XX",
            "text/xml",
            "*/*",
        ] {
            if body == FORM && media_type.starts_with("multipart") {
                continue;
            }
            let node = Node::start().await;
            let answer = post(&node, media_type, body).await;
            assert_eq!(answer.status, 202, "{media_type} {body}: {}", answer.body);
            let (_, lead) = node.leads().await.remove(0);
            assert_eq!((lead.first_name.as_str(), &*lead.product_type), ("Ana", "Solar"), "{media_type} {body}");
            assert_eq!(lead.phone.e164(), "+12135550123");
        }
    }
}

#[tokio::test]
async fn what_is_deeper_in_xml_is_mapped_by_pointers() {
    let node = Node::start().await;
    let mapping = serde_json::json!({"fields": {"/Source/Site": "notes", "/Source/id": "external_id"}});
    let mapping = serde_json::from_value(mapping).unwrap();
    node.put([Entity::Provider(Provider { mapping, ..provider("a") })]).await;
    assert_eq!(post(&node, "application/xml", XML).await.status, 202);
    let (_, lead) = node.leads().await.remove(0);
    assert_eq!((lead.notes.as_str(), lead.external_id.as_deref()), ("x", Some("7")));
}

#[tokio::test]
async fn xml_and_forms_that_cannot_be_read_are_told_why() {
    let node = Node::start().await;
    post(&node, "text/xml", "<!DOCTYPE a [<!ENTITY x 'y'>]><a><b>&x;</b></a>").await.assert_problem(400, "invalid-xml");
    post(&node, "text/xml", "<a><b></a>").await.assert_problem(400, "invalid-xml");
    post(&node, "multipart/form-data", "hello").await.assert_problem(400, "invalid-form");
    post(&node, "multipart/form-data; boundary=XX", "").await.assert_problem(400, "bad-request");
    post(&node, "application/xml", "<a/>").await.assert_problem(400, "bad-request");
}

#[tokio::test]
async fn names_arrive_whole_from_sites_in_other_charsets() {
    let json = LEAD.replace("Ana", "José");
    let latin = encoding_rs::WINDOWS_1252.encode(&json).0.into_owned();
    let wide: Vec<u8> = "\u{feff}".encode_utf16().chain(json.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let xml = XML.replace("1.0\"", "1.0\" encoding=\"ISO-8859-1\"").replace("Ana", "José");
    let xml = encoding_rs::WINDOWS_1252.encode(&xml).0.into_owned();
    for (media_type, body) in [
        ("application/json", latin.clone()),
        ("application/json; charset=ISO-8859-1", latin),
        ("application/json; charset=utf-16", wide.clone()),
        ("text/plain", wide),
        ("text/xml", xml),
        ("application/x-www-form-urlencoded", FORM.replace("Ana", "Jos%E9").into_bytes()),
        ("application/x-www-form-urlencoded; charset=windows-1252", FORM.replace("Ana", "Jos%C3%A9").into_bytes()),
        ("application/x-www-form-urlencoded", [b"\xef\xbb\xbf", FORM.replace("Ana", "José").as_bytes()].concat()),
        (
            "multipart/form-data; boundary=XX",
            encoding_rs::WINDOWS_1252.encode(&MULTIPART.replace("Ana", "José")).0.into_owned(),
        ),
    ] {
        let node = Node::start().await;
        assert_eq!(post(&node, media_type, body).await.status, 202, "{media_type}");
        assert_eq!(node.leads().await.remove(0).1.first_name, "José", "{media_type}");
    }
}

#[tokio::test]
async fn the_query_of_a_get_is_a_lead_only_where_the_provider_may() {
    let node = Node::start().await;
    let get = |query: String| {
        let request = Request::get(format!("/webhook/provider-a?{query}")).body(Full::new(Bytes::new())).unwrap();
        node.send(request)
    };
    let lead = format!("key={KEY}&{FORM}");
    get(lead.clone()).await.assert_problem(405, "method-not-allowed");
    posting(&node, Posting { allow_get: true, ..Posting::default() }).await;
    assert_eq!(get(lead.clone()).await.status, 202);
    assert_eq!(get(lead).await.status, 200, "the same again");
    get(format!("key=wrong&{FORM}")).await.assert_problem(401, "unauthorized");
    get(FORM.to_owned()).await.assert_problem(405, "method-not-allowed");
    get(format!("key={KEY}")).await.assert_problem(400, "bad-request");
    get(format!("key={KEY}&phone=1")).await.assert_problem(422, "validation");
    let path = format!("/webhook/provider-a?key={KEY}&{FORM}&notes=posted");
    assert_eq!(node.post(&path, &[], "").await.status, 202, "a post whose fields all stand in the query");
    assert!(node.leads().await.iter().all(|(_, lead)| !serde_json::to_string(lead).unwrap().contains(KEY)));
}

#[tokio::test]
async fn a_basic_password_is_a_key() {
    use base64::Engine as _;
    let node = Node::start().await;
    let basic = |text: String| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text));
    for (credentials, status) in [
        (format!("a:{KEY}"), 202),
        (format!(":{KEY}"), 200),
        (format!("{KEY}:"), 200),
        (format!("{KEY}:wrong"), 401),
        ("a:".to_owned(), 401),
        (KEY.to_owned(), 401),
    ] {
        let header = basic(credentials.clone());
        let answer = node.post("/webhook/provider-a", &[("authorization", &header)], LEAD).await;
        assert_eq!(answer.status, status, "{credentials}");
    }
    let lower = basic(format!("a:{KEY}")).replace("Basic", "basic");
    assert_eq!(node.post("/leads/receive", &[("authorization", lower.trim_end_matches('='))], LEAD).await.status, 200);
}

#[tokio::test]
async fn a_provider_whose_software_knows_only_200_hears_200() {
    let node = Node::start().await;
    posting(&node, Posting { success_status: 200, ..Posting::default() }).await;
    let answer = node.webhook(LEAD).await;
    assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &"accepted".into()));
    assert_eq!(node.webhook(format!("[{}]", LEAD.replace("Ana", "Eva"))).await.status, 200);
    node.webhook("{}").await.assert_problem(422, "validation");
}

fn from_page(method: Method, path: &str, origin: &str, body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(&method).uri(path).header("origin", origin);
    let request = if method == Method::OPTIONS {
        request.header("access-control-request-method", "POST").header("access-control-request-headers", "x-api-key")
    } else {
        request.header("x-api-key", KEY)
    };
    request.body(Full::from(body)).unwrap()
}

#[tokio::test]
async fn pages_of_other_sites_may_post_only_where_the_provider_allows_them() {
    let node = Node::start().await;
    let shop = "https://shop.example";
    posting(&node, Posting { allowed_origins: vec![shop.to_owned()], ..Posting::default() }).await;
    let ask = |path: &'static str, origin: &'static str| async {
        let request = from_page(Method::OPTIONS, path, origin, "");
        node.ingest.handle(request).await
    };
    for path in ["/webhook/provider-a", "/leads/receive/", "/appointments/receive"] {
        let answer = ask(path, shop).await;
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(answer.status(), 204, "{path}");
        assert_eq!(header("access-control-allow-origin").as_deref(), Some(shop));
        assert_eq!(header("vary").as_deref(), Some("origin"));
        assert!(header("access-control-allow-headers").unwrap().contains("x-api-key"));
        assert!(header("access-control-allow-methods").unwrap().contains("POST"));
    }
    let strangers = [ask("/webhook/provider-a", "https://other.example").await, ask("/webhook/provider-b", shop).await];
    let nobody = ask("/webhook/provider-nobody", shop).await;
    for stranger in &strangers {
        assert_eq!((stranger.status(), stranger.headers()), (nobody.status(), nobody.headers()));
        assert!(!stranger.headers().contains_key("access-control-allow-origin"));
    }
    assert_eq!(nobody.status(), 405);
    let answer = node.send(from_page(Method::POST, "/webhook/provider-a", shop, LEAD)).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (202, Some(shop)));
    let refused = node.send(from_page(Method::POST, "/webhook/provider-a", shop, "{}")).await;
    assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (422, Some(shop)));
    let other = node.send(from_page(Method::POST, "/webhook/provider-a", "https://other.example", LEAD)).await;
    assert_eq!((other.status.as_u16(), other.header("access-control-allow-origin")), (200, None));
}

#[tokio::test]
async fn slashes_too_many_change_nothing() {
    let node = Node::start().await;
    for (n, path) in
        ["/leads/receive/", "//leads/receive", "/webhook//provider-a", "/webhook/provider-a//"].iter().enumerate()
    {
        let lead = LEAD.replace("Ana", &format!("Ana {n}"));
        assert_eq!(node.post(path, &[("x-api-key", KEY)], lead).await.status, 202, "{path}");
    }
}
