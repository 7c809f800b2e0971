//! The routing decision: pure. What is known goes in, a record comes out.

use std::sync::Arc;

use leadway_domain::lead::Lead;
use leadway_domain::record::{
    Appointment, AppointmentRecord, CommandRefused, DuplicateLead, LeadAction, LeadCommand, RoutingMethod, Unrouted,
    UnroutedReason,
};
use leadway_domain::settings::{Settings, Workspace, is_past};
use leadway_domain::{LeadId, RuleId, Timestamp, WorkspaceId, ZipDirectory};

use crate::index::MatchIndex;
use crate::slots::Occupancy;

/// What a decision looks at, besides the lead.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The settings of the moment.
    pub settings: &'a Settings,
    /// The index of the same settings.
    pub index: &'a MatchIndex,
    /// Where the customers' time zones come from.
    pub zips: &'a ZipDirectory,
    /// How full the workspaces' slots are, as far as it is loaded.
    pub slots: &'a Occupancy,
    /// The moment.
    pub now: Timestamp,
}

/// The decision looks for a slot of this workspace, whose occupancy is not loaded: load it and decide again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedsSlots(pub WorkspaceId);

/// What has been decided about a lead so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: it has no date and waits for one.
    Waiting,
    /// It matched nothing.
    Unrouted {
        /// Which decision that was, counted from 1.
        decision: u32,
        /// The date asked for; `None` when the next free slot was to be taken.
        appointment_date: Option<Timestamp>,
    },
    /// It is an appointment.
    Routed,
    /// It was the same submission as another lead.
    Duplicate {
        /// That other, earlier lead.
        first: LeadId,
    },
}

impl Standing {
    /// How a lead stands after this record; `None` when the record changes nothing.
    pub fn after(record: &AppointmentRecord) -> Option<(LeadId, Self)> {
        match record {
            AppointmentRecord::Routed(a) => Some((a.appointment_id, Self::Routed)),
            AppointmentRecord::Unrouted(u) => {
                Some((u.lead_id, Self::Unrouted { decision: u.decision, appointment_date: u.appointment_date }))
            }
            AppointmentRecord::Duplicate(d) => Some((d.lead_id, Self::Duplicate { first: d.first_lead_id })),
            AppointmentRecord::Refused(_) => None,
        }
    }
}

/// The lead that a command is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// As it was received.
    pub lead: Arc<Lead>,
    /// What has been decided about it so far.
    pub standing: Standing,
}

/// When the appointment is to be.
#[derive(Clone, Copy)]
enum When {
    /// The date that comes with what is decided now.
    At(Timestamp),
    /// The date that was asked for before: it may have passed while the lead waited.
    StillAt(Timestamp),
    NextFreeSlot,
}

impl When {
    fn asked(date: Option<Timestamp>) -> Self {
        date.map_or(Self::NextFreeSlot, Self::At)
    }

    fn asked_before(date: Option<Timestamp>) -> Self {
        date.map_or(Self::NextFreeSlot, Self::StillAt)
    }

    fn date(self) -> Option<Timestamp> {
        match self {
            Self::At(date) | Self::StillAt(date) => Some(date),
            Self::NextFreeSlot => None,
        }
    }
}

/// Why there is no date for an appointment.
enum NoDate {
    /// The date is over.
    Passed(Timestamp),
    NoFreeSlot,
}

impl NoDate {
    /// For programs.
    fn code(&self) -> &'static str {
        match self {
            Self::Passed(_) => "date_passed",
            Self::NoFreeSlot => "no_free_slot",
        }
    }

    /// For people, with the way out.
    fn message(&self, id: LeadId, workspace: &WorkspaceId) -> String {
        match self {
            Self::Passed(date) => format!(
                "the date asked for, {date}, is over; give the lead a new one with POST /api/leads/{id}/schedule"
            ),
            Self::NoFreeSlot => format!(
                "workspace {workspace} has no free slot in the days ahead; give the lead a date with \
                 POST /api/leads/{id}/schedule, or widen the workspace's opening_hours and try again"
            ),
        }
    }
}

/// One decision about one lead.
#[derive(Clone, Copy)]
struct Case<'a> {
    id: LeadId,
    lead: &'a Lead,
    decision: u32,
    command_id: Option<LeadId>,
    when: When,
}

impl Scene<'_> {
    /// Decides a lead as it arrives. `first` is the earlier lead of the same submission, if there is one. `None`: it
    /// has no date, or one that was over when it came, and waits for one.
    pub fn receive(
        &self,
        id: LeadId,
        lead: &Lead,
        first: Option<LeadId>,
    ) -> Result<Option<AppointmentRecord>, NeedsSlots> {
        if let Some(first_lead_id) = first {
            return Ok(Some(self.duplicate(id, lead, first_lead_id)));
        }
        if lead.appointment_date.is_none() && !lead.auto_schedule {
            return Ok(None);
        }
        if lead.appointment_date.is_some_and(|date| is_past(date, lead.received_at)) && !self.sells_past(lead) {
            return Ok(None);
        }
        let when = When::asked(lead.appointment_date);
        self.route(Case { id, lead, decision: 1, command_id: None, when }).map(Some)
    }

    /// Carries out a command, or says why not. `subject` is `None` when there is no such lead.
    pub fn command(
        &self,
        command_id: LeadId,
        command: &LeadCommand,
        subject: Option<&Subject>,
    ) -> Result<AppointmentRecord, NeedsSlots> {
        let id = command.lead_id;
        let refuse = |reason: String| Ok(self.refused(command_id, id, reason));
        let Some(Subject { lead, standing }) = subject else {
            return refuse(format!("lead {id} does not exist"));
        };
        // Once there is a decision, its wish counts and the lead's own date no more.
        let (decision, date_before) = match standing {
            Standing::Waiting => (1, lead.appointment_date),
            Standing::Unrouted { decision, appointment_date } => (decision.saturating_add(1), *appointment_date),
            Standing::Routed => return refuse(format!("lead {id} already has an appointment")),
            Standing::Duplicate { first } => {
                return refuse(format!("lead {id} is the same submission as lead {first}; use that one"));
            }
        };
        let case = |when| Case { id, lead, decision, command_id: Some(command_id), when };
        let as_before = When::asked_before(date_before);
        match &command.action {
            LeadAction::Schedule { appointment_date } => self.route(case(When::asked(*appointment_date))),
            LeadAction::Retry if *standing == Standing::Waiting => {
                refuse(format!("lead {id} is waiting for a date; give it one with POST /api/leads/{id}/schedule"))
            }
            LeadAction::Retry => self.route(case(as_before)),
            LeadAction::Assign { workspace_id } => self.assign(case(as_before), command_id, workspace_id),
        }
    }

    /// Whether the lead may be sold although its date is over, to the workspace that would get it.
    fn sells_past(&self, lead: &Lead) -> bool {
        let rule = self.index.find(&lead.product_type, lead.zip_code);
        let workspace = rule.and_then(|rule| self.settings.workspaces.get(&rule.workspace_id));
        self.settings.sells_past(&lead.provider_id, workspace.map(|w| &**w))
    }

    /// To the workspace of the rule that wins.
    fn route(&self, case: Case<'_>) -> Result<AppointmentRecord, NeedsSlots> {
        let (product, zip) = (&case.lead.product_type, case.lead.zip_code);
        let Some(rule) = self.index.find(product, zip) else {
            let message = format!(
                "no active rule takes {product} in {zip}; GET /api/routing/explain with this product_type and \
                 zip_code says why for each rule, and POST /api/unrouted/retry routes it again"
            );
            return Ok(self.unrouted(case, "no_rule", message));
        };
        let Some(workspace) = self.settings.workspaces.get(&rule.workspace_id) else {
            let message = format!("workspace {} of rule {} does not exist", rule.workspace_id, rule.id);
            return Ok(self.unrouted(case, "workspace_missing", message));
        };
        match self.date(&case, workspace)? {
            Ok(date) => Ok(self.routed(case, workspace, Some(rule.id), date)),
            Err(no_date) => {
                let message = no_date.message(case.id, &workspace.id);
                // A date that somebody just asked for is refused; one that the lead came with stands as its wish.
                match (case.command_id, case.when, &no_date) {
                    (Some(command_id), When::At(_), NoDate::Passed(_)) => {
                        Ok(self.refused(command_id, case.id, message))
                    }
                    _ => Ok(self.unrouted(case, no_date.code(), message)),
                }
            }
        }
    }

    /// To this workspace, whatever the rules say. What cannot be done is refused and leaves the lead as it stands.
    fn assign(
        &self,
        case: Case<'_>,
        command_id: LeadId,
        workspace_id: &WorkspaceId,
    ) -> Result<AppointmentRecord, NeedsSlots> {
        let Some(workspace) = self.settings.workspaces.get(workspace_id) else {
            let reason = format!("workspace {workspace_id} does not exist; GET /api/workspaces lists those that do");
            return Ok(self.refused(command_id, case.id, reason));
        };
        match self.date(&case, workspace)? {
            Ok(date) => Ok(self.routed(case, workspace, None, date)),
            Err(no_date) => Ok(self.refused(command_id, case.id, no_date.message(case.id, workspace_id))),
        }
    }

    /// The date asked for, or else the workspace's next free slot in the customer's time zone.
    fn date(&self, case: &Case<'_>, workspace: &Workspace) -> Result<Result<Timestamp, NoDate>, NeedsSlots> {
        match case.when {
            When::StillAt(date) if case.lead.received_at < date && date <= self.now => Ok(Err(NoDate::Passed(date))),
            When::At(date) | When::StillAt(date) => {
                let sold =
                    !is_past(date, self.now) || self.settings.sells_past(&case.lead.provider_id, Some(workspace));
                Ok(if sold { Ok(date) } else { Err(NoDate::Passed(date)) })
            }
            When::NextFreeSlot => {
                let zone = self.zips.get(case.lead.zip_code).map(|z| &z.time_zone);
                Ok(self.slots.next_free(workspace, self.now, zone)?.ok_or(NoDate::NoFreeSlot))
            }
        }
    }

    fn routed(
        &self,
        case: Case<'_>,
        workspace: &Workspace,
        rule_id: Option<RuleId>,
        appointment_date: Timestamp,
    ) -> AppointmentRecord {
        let lead = case.lead;
        AppointmentRecord::Routed(Arc::new(Appointment {
            v: 1,
            appointment_id: case.id,
            decision: case.decision,
            command_id: case.command_id,
            contact_id: lead.contact_id,
            provider_id: lead.provider_id.clone(),
            workspace_id: workspace.id.clone(),
            rule_id,
            routing_method: if rule_id.is_some() { RoutingMethod::Auto } else { RoutingMethod::Manual },
            customer_name: lead.customer_name(),
            customer_phone: lead.phone,
            customer_email: lead.email.clone(),
            service_type: lead.product_type.clone(),
            customer_zip: lead.zip_code,
            appointment_date,
            estimated_value: lead.estimated_value,
            notes: lead.notes.clone(),
            price: workspace.payment_rate,
            cost: lead.cost,
            test: lead.test,
            received_at: lead.received_at,
            matched_at: self.now,
        }))
    }

    fn unrouted(&self, case: Case<'_>, code: &str, message: String) -> AppointmentRecord {
        let lead = case.lead;
        AppointmentRecord::Unrouted(Box::new(Unrouted {
            v: 1,
            lead_id: case.id,
            decision: case.decision,
            command_id: case.command_id,
            contact_id: lead.contact_id,
            provider_id: lead.provider_id.clone(),
            service_type: lead.product_type.clone(),
            customer_zip: lead.zip_code,
            appointment_date: case.when.date(),
            reason: UnroutedReason { code: code.to_owned(), message },
            test: lead.test,
            received_at: lead.received_at,
            decided_at: self.now,
        }))
    }

    fn duplicate(&self, lead_id: LeadId, lead: &Lead, first_lead_id: LeadId) -> AppointmentRecord {
        AppointmentRecord::Duplicate(DuplicateLead {
            v: 1,
            lead_id,
            first_lead_id,
            provider_id: lead.provider_id.clone(),
            product_type: lead.product_type.clone(),
            cost: lead.cost,
            test: lead.test,
            received_at: lead.received_at,
            decided_at: self.now,
        })
    }

    fn refused(&self, command_id: LeadId, lead_id: LeadId, reason: String) -> AppointmentRecord {
        AppointmentRecord::Refused(CommandRefused { v: 1, command_id, lead_id, reason, decided_at: self.now })
    }
}

#[cfg(test)]
pub(crate) mod tests;
