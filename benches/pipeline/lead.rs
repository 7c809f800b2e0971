//! The leads that are posted.

/// Area codes of the telephone numbers.
const AREAS: [u32; 10] = [213, 310, 415, 212, 718, 305, 312, 713, 206, 602];
/// ZIPs that the rules of the measured clients take.
const ZIPS: [&str; 8] = ["90210", "90211", "10001", "10002", "60601", "60614", "94103", "94110"];
/// What those rules name.
pub(crate) const ZIP_PATTERNS: [&str; 4] = ["902*", "100*", "606*", "941*"];
/// Stands before the lead's number in its notes, which every client receives.
const MARK: &[u8] = b"kW solar system, no. ";

/// The body of lead `number`: each is another customer.
pub(crate) fn body(number: u32, product: &str) -> String {
    let (line, rest) = (number % 10_000, number / 10_000);
    // Exchanges 220 to 299, 320 to 399 and so on: none of them is a service code.
    let exchange = 200 + 100 * (rest / 80 % 8) + 20 + rest % 80;
    let area = AREAS.get((rest / 640) as usize % AREAS.len()).unwrap_or(&213);
    let zip = ZIPS.get(number as usize % ZIPS.len()).unwrap_or(&"");
    format!(
        concat!(
            r#"{{"first_name":"John","last_name":"Customer","phone":"({area}) {exchange}-{line:04}","#,
            r#""email":"john.customer{number}@example.com","product_type":"{product}","zip_code":"{zip}","#,
            r#""estimated_value":25000,"interest_level":"hot","#,
            r#""notes":"Interested in 10kW solar system, no. {number:08}, please call in the afternoon","#,
            r#""appointment_date":"2030-12-01T14:00:00Z"}}"#
        ),
        area = area,
        exchange = exchange,
        line = line,
        number = number,
        product = product,
        zip = zip
    )
}

/// The number of the lead that a delivery carries, in whatever form.
pub(crate) fn number_in(delivery: &[u8]) -> Option<u32> {
    let at = delivery.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    std::str::from_utf8(delivery.get(at..at + 8)?).ok()?.parse().ok()
}
