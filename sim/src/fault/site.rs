//! What can be waited for: a step of the protocol, a message, or an operation of the storage.
//!
//! Steps are what the engine says of itself. Messages and operations are seen from outside, between a process and the
//! world: before one nothing of it has taken effect, after it the process has not been told. All three are crash points.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};
use tidegate::event::{Moment, Step};

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// The engine states a step.
    Step(Step),
    /// A process hands a message of this name to the network, alone or together with others.
    Message(Cow<'static, str>),
    /// A message of this name has arrived, and the process has done nothing with it.
    Receipt(Cow<'static, str>),
    /// A process asks the shared storage for this operation (`write`, `sync`, `rename`, …).
    Disk(Cow<'static, str>),
}

impl From<Step> for Site {
    fn from(step: Step) -> Self {
        Self::Step(step)
    }
}

impl PartialEq<Step> for Site {
    fn eq(&self, step: &Step) -> bool {
        matches!(self, Self::Step(own) if own == step)
    }
}

impl Site {
    /// The sort of site: `step`, `message`, `receipt` or `disk`.
    pub fn sort(&self) -> &'static str {
        match self {
            Self::Step(_) => "step",
            Self::Message(_) => "message",
            Self::Receipt(_) => "receipt",
            Self::Disk(_) => "disk",
        }
    }

    /// Whether only somebody who watches the world sees it.
    pub fn is_of_world(&self) -> bool {
        !matches!(self, Self::Step(_))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => f.write_str(step.name()),
            Self::Message(name) => write!(f, "message {name}"),
            Self::Receipt(name) => write!(f, "receipt of {name}"),
            Self::Disk(name) => write!(f, "disk {name}"),
        }
    }
}

/// The moment at which a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "WrittenAt", into = "WrittenAt")]
pub struct At {
    /// At what.
    pub site: Site,
    /// Before or after it.
    pub moment: Moment,
    /// Which subject: a part of a subtask's name or of a node's; `None` takes any.
    pub subject: Option<String>,
    /// The how-manieth such thing, from 1, counted from the moment at which the fault waits for it.
    pub occurrence: u32,
}

impl At {
    /// Whether it is about what happens now, at whatever occurrence.
    pub fn concerns(&self, site: &Site, moment: Moment, subtask: Option<&str>, node: &str) -> bool {
        let named = |part: &str| subtask.is_some_and(|subtask| subtask.contains(part)) || node.contains(part);
        self.moment == moment && self.site == *site && self.subject.as_deref().is_none_or(named)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = match self.moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        write!(f, "{moment} {}", self.site)?;
        if let Some(subject) = &self.subject {
            write!(f, " of {subject}")?;
        }
        write!(f, " #{}", self.occurrence)
    }
}

/// How a moment stands in a capsule: `step = "commit"`, or `message = …`, or `receipt = …`, or `disk = …`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAt {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<Step>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk: Option<Cow<'static, str>>,
    moment: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    occurrence: u32,
}

impl TryFrom<WrittenAt> for At {
    type Error = String;

    fn try_from(written: WrittenAt) -> Result<Self, String> {
        let WrittenAt { step, message, receipt, disk, moment, subject, occurrence } = written;
        let site = match (step, message, receipt, disk) {
            (Some(step), None, None, None) => Site::Step(step),
            (None, Some(name), None, None) => Site::Message(name),
            (None, None, Some(name), None) => Site::Receipt(name),
            (None, None, None, Some(name)) => Site::Disk(name),
            _ => return Err("a fault waits for exactly one of `step`, `message`, `receipt` and `disk`".into()),
        };
        Ok(Self { site, moment, subject, occurrence })
    }
}

impl From<At> for WrittenAt {
    fn from(at: At) -> Self {
        let At { site, moment, subject, occurrence } = at;
        let mut written = Self { step: None, message: None, receipt: None, disk: None, moment, subject, occurrence };
        match site {
            Site::Step(step) => written.step = Some(step),
            Site::Message(name) => written.message = Some(name),
            Site::Receipt(name) => written.receipt = Some(name),
            Site::Disk(name) => written.disk = Some(name),
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(site: Site) -> At {
        At { site, moment: Moment::After, subject: Some("sum#1".into()), occurrence: 3 }
    }

    #[test]
    fn every_sort_of_site_is_written_and_read_back() {
        let sites = [
            Site::Step(Step::Commit),
            Site::Message("acknowledge".into()),
            Site::Receipt("deploy".into()),
            Site::Disk("sync".into()),
        ];
        for site in sites {
            let text = toml::to_string(&at(site.clone())).unwrap();
            assert!(text.starts_with(site.sort()), "{text}");
            assert_eq!(toml::from_str::<At>(&text).unwrap(), at(site));
        }
    }

    #[test]
    fn a_moment_at_no_site_or_at_two_is_refused() {
        for text in [
            "moment = \"after\"\noccurrence = 1",
            "step = \"commit\"\ndisk = \"sync\"\nmoment = \"after\"\noccurrence = 1",
        ] {
            let error = toml::from_str::<At>(text).unwrap_err().to_string();
            assert!(error.contains("exactly one of"), "{error}");
        }
    }

    #[test]
    fn a_subject_is_a_part_of_the_subtask_or_of_the_node() {
        let at = at(Site::Step(Step::Commit));
        let concerns = |subtask, node| at.concerns(&Site::Step(Step::Commit), Moment::After, subtask, node);
        assert!(concerns(Some("sum#1"), "taskmanager-1"));
        assert!(!concerns(Some("sum#0"), "taskmanager-1"));
        assert!(concerns(None, "sum#1"));
        assert!(!at.concerns(&Site::Step(Step::Commit), Moment::Before, Some("sum#1"), "taskmanager-1"));
    }
}
