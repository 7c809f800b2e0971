use serde::{Deserialize, Serialize};

/// A product or service that leads ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Canonical name: `Solar`. Also its id, compared without case, spacing and punctuation.
    pub name: String,
    /// Other names under which providers send it.
    #[serde(default)]
    pub synonyms: Vec<String>,
    /// Whether leads without a date are given the next free slot at once.
    #[serde(default)]
    pub auto_schedule: bool,
}

/// The products that a new node knows; the operator changes them through the API.
pub const DEFAULT_PRODUCTS: &[(&str, &[&str])] = &[
    ("Solar", &["solar panels", "solar panel installation", "solar installation", "pv"]),
    ("Battery", &["battery storage", "home battery", "powerwall"]),
    ("HVAC", &["air conditioning", "ac", "heating and cooling", "furnace"]),
    ("Heat Pump", &["heat pumps", "mini split"]),
    ("Kitchen", &["kitchen remodel", "kitchen remodeling", "kitchen renovation"]),
    ("Bathroom", &["bath", "bathroom remodel", "bathroom remodeling", "bath remodel"]),
    ("Roofing", &["roof", "roof replacement", "roof repair"]),
    ("Windows", &["window", "window replacement", "replacement windows"]),
    ("Doors", &["door", "door replacement", "entry doors"]),
    ("Siding", &["siding replacement", "vinyl siding"]),
    ("Gutters", &["gutter", "gutter guards", "gutter guard"]),
    ("Flooring", &["floor", "floors", "hardwood floors", "carpet"]),
    ("Painting", &["painter", "house painting", "exterior painting", "interior painting"]),
    ("Plumbing", &["plumber", "water heater"]),
    ("Electrical", &["electrician", "ev charger", "panel upgrade"]),
    ("Insulation", &["attic insulation", "spray foam"]),
    ("Landscaping", &["lawn care", "landscape", "hardscape"]),
    ("Garage Doors", &["garage door"]),
    ("Water Treatment", &["water softener", "water filtration"]),
    ("Pest Control", &["exterminator", "termites"]),
];
