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
    /// `appointment_time`: the time of day, where it comes apart from the date
    AppointmentTime,
    /// `appointment_time_zone`: the zone of a local date, where it is not the customer's
    AppointmentTimeZone,
    /// `external_id`
    ExternalId,
    /// `test`
    Test,
}

impl Field {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 15] = [
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
        Self::AppointmentTime,
        Self::AppointmentTimeZone,
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
            Self::AppointmentTime => "appointment_time",
            Self::AppointmentTimeZone => "appointment_time_zone",
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

    /// The field that providers commonly call so, however the name is cased, spaced and punctuated, and how well it fits.
    pub(super) fn by_alias(name: &str) -> Option<(Self, Fit)> {
        // Our own names are the most frequent ones, and aliases of themselves.
        Self::by_name(name).map(|field| (field, Fit::Name)).or_else(|| Self::by_folded_name(name))
    }

    fn by_folded_name(name: &str) -> Option<(Self, Fit)> {
        // Folded into a small buffer: this runs for every field of every lead.
        let mut buffer = [0u8; 24];
        let mut length = 0;
        for byte in name.bytes().filter(u8::is_ascii_alphanumeric) {
            *buffer.get_mut(length)? = byte.to_ascii_lowercase();
            length += 1;
        }
        let fit = Fit::Alias { shortness: u8::MAX - length as u8 };
        Some(match buffer.get(..length)? {
            b"firstname" => (Self::FirstName, Fit::Folded),
            b"fname" | b"first" | b"givenname" | b"customerfirstname" | b"contactfirstname" => (Self::FirstName, fit),
            b"lastname" => (Self::LastName, Fit::Folded),
            b"lname" | b"last" | b"surname" | b"familyname" | b"customerlastname" | b"contactlastname" => {
                (Self::LastName, fit)
            }
            b"customername" => (Self::CustomerName, Fit::Folded),
            b"fullname" | b"name" | b"yourname" | b"contactname" | b"homeownername" | b"leadname" => {
                (Self::CustomerName, fit)
            }
            b"phone" => (Self::Phone, Fit::Folded),
            b"phone1"
            | b"phonenumber"
            | b"yourphone"
            | b"yourtel"
            | b"primaryphone"
            | b"primaryphonenumber"
            | b"customerphone"
            | b"customerphonenumber"
            | b"contactphone"
            | b"contactnumber"
            | b"mobile"
            | b"mobilephone"
            | b"mobilenumber"
            | b"phonemobile"
            | b"cell"
            | b"cellphone"
            | b"phonecell"
            | b"telephone"
            | b"telephonenumber"
            | b"tel"
            | b"homephone"
            | b"phonehome"
            | b"dayphone" => (Self::Phone, fit),
            // Where to try when the first number cannot be read.
            b"phone2" | b"phone3" | b"secondphone" | b"secondaryphone" | b"alternatephone" | b"alternativephone"
            | b"altphone" | b"otherphone" | b"workphone" | b"phonework" | b"businessphone" | b"eveningphone" => {
                (Self::Phone, Fit::Second)
            }
            b"email" => (Self::Email, Fit::Folded),
            b"email1" | b"emailaddress" | b"youremail" | b"customeremail" | b"contactemail" | b"primaryemail"
            | b"mail" => (Self::Email, fit),
            b"email2" | b"secondaryemail" | b"alternateemail" | b"workemail" => (Self::Email, Fit::Second),
            b"producttype" => (Self::ProductType, Fit::Folded),
            b"product" | b"productname" | b"servicetype" | b"service" | b"servicename" | b"projecttype"
            | b"category" | b"trade" | b"vertical" => (Self::ProductType, fit),
            b"zipcode" => (Self::ZipCode, Fit::Folded),
            b"zip" | b"postal" | b"postalcode" | b"postcode" | b"customerzip" | b"customerzipcode" | b"zip5"
            | b"zippostalcode" => (Self::ZipCode, fit),
            b"estimatedvalue" => (Self::EstimatedValue, Fit::Folded),
            b"value" | b"dealvalue" | b"projectvalue" | b"leadvalue" | b"budget" => (Self::EstimatedValue, fit),
            b"interestlevel" => (Self::InterestLevel, Fit::Folded),
            b"interest" | b"temperature" | b"leadtemperature" => (Self::InterestLevel, fit),
            b"notes" => (Self::Notes, Fit::Folded),
            b"note" | b"comments" | b"comment" | b"description" | b"message" | b"yourmessage" | b"details" => {
                (Self::Notes, fit)
            }
            b"appointmentdate" => (Self::AppointmentDate, Fit::Folded),
            b"appointmentdatetime"
            | b"appointment"
            | b"apptdate"
            | b"apptdatetime"
            | b"appointmentstart"
            | b"scheduledat"
            | b"scheduleddate" => (Self::AppointmentDate, fit),
            b"appointmenttime" => (Self::AppointmentTime, Fit::Folded),
            b"appttime" | b"scheduledtime" => (Self::AppointmentTime, fit),
            b"appointmenttimezone" => (Self::AppointmentTimeZone, Fit::Folded),
            b"timezone" | b"tz" | b"customertimezone" => (Self::AppointmentTimeZone, fit),
            b"externalid" => (Self::ExternalId, Fit::Folded),
            b"leadid" | b"providerleadid" | b"vendorleadid" | b"uniqueid" => (Self::ExternalId, fit),
            b"test" => (Self::Test, Fit::Folded),
            // Flags of the systems that distribute leads: boberdoo, LeadsPedia, LeadByte, LeadConduit, CAKE.
            b"istest" | b"testlead" | b"istestlead" | b"testmode" | b"istestmode" | b"testpost" | b"testflag"
            | b"lptest" | b"xxtest" | b"ckmtest" | b"leadtest" => (Self::Test, fit),
            // Lead Prosper: `lp_action=test`; others: `mode=test`.
            b"lpaction" | b"action" | b"leadmode" | b"mode" | b"leadtype" | b"leadstatus" | b"environment" => {
                (Self::Test, Fit::Mode)
            }
            _ => return None,
        })
    }
}

/// How well a name that was sent fits its field: the better one is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// The provider's mapping says so.
    Mapped,
    /// It is the field's own name.
    Name,
    /// It is that in another case or spacing.
    Folded,
    /// It is a name that is common for it; the longer, the more it says.
    Alias {
        /// Less for a longer name.
        shortness: u8,
    },
    /// It is common for a second one beside the first.
    Second,
    /// A word for how the post is meant, of which only "test" is a flag.
    Mode,
    /// Nothing was sent; the mapping has a constant.
    Constant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_an_alias_of_its_field() {
        for field in Field::ALL {
            assert_eq!(Field::by_folded_name(field.name()), Some((field, Fit::Folded)));
            assert_eq!(Field::by_alias(&field.name().to_uppercase()), Some((field, Fit::Folded)));
            assert_eq!(Field::by_alias(field.name()), Some((field, Fit::Name)));
        }
    }

    #[test]
    fn names_that_say_nothing_of_a_lead_are_no_aliases() {
        // An id of a form, a campaign or a traffic source is the same for many leads.
        for name in ["id", "ID", "source_id", "form_id", "campaign_id", "user_id", "", "é"] {
            assert_eq!(Field::by_alias(name), None, "{name}");
        }
    }
}
