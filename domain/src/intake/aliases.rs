//! Our fields and the names under which they are understood without any mapping.

/// A field of a lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Field {
    /// `first_name`
    FirstName,
    /// `last_name`
    LastName,
    /// `customer_name`: both in one
    CustomerName,
    /// `phone`
    Phone,
    /// `email`
    Email,
    /// `product_type`
    ProductType,
    /// `zip_code`
    ZipCode,
    /// `estimated_value`
    EstimatedValue,
    /// `interest_level`
    InterestLevel,
    /// `notes`
    Notes,
    /// `appointment_date`
    AppointmentDate,
    /// `external_id`
    ExternalId,
    /// `test`
    Test,
}

impl Field {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::FirstName,
        Self::LastName,
        Self::CustomerName,
        Self::Phone,
        Self::Email,
        Self::ProductType,
        Self::ZipCode,
        Self::EstimatedValue,
        Self::InterestLevel,
        Self::Notes,
        Self::AppointmentDate,
        Self::ExternalId,
        Self::Test,
    ];

    /// The field's name in our JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
            Self::CustomerName => "customer_name",
            Self::Phone => "phone",
            Self::Email => "email",
            Self::ProductType => "product_type",
            Self::ZipCode => "zip_code",
            Self::EstimatedValue => "estimated_value",
            Self::InterestLevel => "interest_level",
            Self::Notes => "notes",
            Self::AppointmentDate => "appointment_date",
            Self::ExternalId => "external_id",
            Self::Test => "test",
        }
    }

    /// The field of exactly this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// What to send, for a sender who left it out.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Phone => "is required; send the customer's telephone as phone, phone1, phone_number or mobile",
            Self::ProductType => "is required; send the product as product_type, product, service_type or service",
            Self::ZipCode => "is required; send the customer's ZIP code as zip_code, zip or postal_code",
            Self::AppointmentDate => "is required for an appointment; send it as appointment_date in RFC 3339",
            _ => "is required",
        }
    }

    /// The field that providers commonly call so, however it is cased, spaced and punctuated.
    pub(super) fn by_alias(name: &str) -> Option<Self> {
        // Our own names are the most frequent ones, and aliases of themselves.
        Self::by_name(name).or_else(|| Self::by_folded_name(name))
    }

    fn by_folded_name(name: &str) -> Option<Self> {
        // Folded into a small buffer: this runs for every field of every lead.
        let mut buffer = [0u8; 24];
        let mut length = 0;
        for byte in name.bytes().filter(u8::is_ascii_alphanumeric) {
            *buffer.get_mut(length)? = byte.to_ascii_lowercase();
            length += 1;
        }
        Some(match buffer.get(..length)? {
            b"firstname" | b"fname" | b"first" | b"givenname" => Self::FirstName,
            b"lastname" | b"lname" | b"last" | b"surname" | b"familyname" => Self::LastName,
            b"customername" | b"fullname" | b"name" | b"contactname" | b"homeownername" => Self::CustomerName,
            b"phone" | b"phone1" | b"phonenumber" | b"primaryphone" | b"customerphone" | b"contactphone"
            | b"mobile" | b"mobilephone" | b"mobilenumber" | b"cell" | b"cellphone" | b"telephone" | b"tel"
            | b"homephone" | b"dayphone" => Self::Phone,
            b"email" | b"email1" | b"emailaddress" | b"customeremail" | b"contactemail" | b"mail" => Self::Email,
            b"producttype" | b"product" | b"servicetype" | b"service" | b"projecttype" | b"category" | b"trade"
            | b"vertical" => Self::ProductType,
            b"zip" | b"zipcode" | b"postal" | b"postalcode" | b"postcode" | b"customerzip" | b"customerzipcode"
            | b"zip5" => Self::ZipCode,
            b"estimatedvalue" | b"value" | b"dealvalue" | b"projectvalue" | b"leadvalue" | b"budget" => {
                Self::EstimatedValue
            }
            b"interestlevel" | b"interest" | b"temperature" | b"leadtemperature" => Self::InterestLevel,
            b"notes" | b"note" | b"comments" | b"comment" | b"description" | b"message" | b"details" => Self::Notes,
            b"appointmentdate"
            | b"appointmenttime"
            | b"appointmentdatetime"
            | b"appointment"
            | b"apptdate"
            | b"scheduledat"
            | b"scheduleddate"
            | b"scheduledtime" => Self::AppointmentDate,
            b"externalid" | b"leadid" | b"id" | b"providerleadid" | b"sourceid" | b"uniqueid" => Self::ExternalId,
            b"test" | b"istest" | b"testlead" => Self::Test,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_an_alias_of_its_field() {
        for field in Field::ALL {
            assert_eq!(Field::by_folded_name(field.name()), Some(field));
            assert_eq!(Field::by_alias(&field.name().to_uppercase()), Some(field));
        }
    }
}
