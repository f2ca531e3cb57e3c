//! Events as lines of JSON: what `bpftrust events --json` prints, and what other verbs
//! read back.

use bpftrust_guard::{Event, Vocabulary};
use bpftrust_signature::Rights;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::output::{escape_bytes, is_escaped};
use crate::rights::rights_as_json;

/// The form of a line. Another one means that a field got another meaning.
pub const FORM: u32 = 1;

/// The field of a line that stands for events that nobody has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lost {
    /// [`FORM`].
    pub form: u32,
    /// How many.
    pub lost: u64,
}

/// One event. `docs/events.md` has the fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub form: u32,
    pub sequence: u64,
    pub time: String,
    pub action: String,
    pub outcome: String,
    pub reason: String,
    pub command: Option<String>,
    pub object: Option<String>,
    pub name: Option<String>,
    #[serde(serialize_with = "write_takes", deserialize_with = "read_takes")]
    pub takes: Rights,
    pub pid: u32,
    pub tid: u32,
    pub uid: u32,
    pub target: Option<u32>,
    pub file: Option<String>,
    pub comm: String,
    pub cgroup: Option<String>,
    pub executable: String,
    pub digest: Option<String>,
    pub key: Option<String>,
    pub publisher: Option<String>,
    pub script: Option<String>,
    pub script_digest: Option<String>,
}

impl Line {
    /// The line of an event whose key belongs to `publisher`.
    pub fn new(event: &Event, publisher: Option<&str>) -> Self {
        let script = event.script.as_ref();
        Self {
            form: FORM,
            sequence: event.sequence,
            time: humantime::format_rfc3339_micros(event.time).to_string(),
            action: event.action.to_owned(),
            outcome: event.outcome.to_owned(),
            reason: event.reason.to_owned(),
            command: event.command.clone(),
            object: event.object.as_ref().map(|asked| asked.kind.to_owned()),
            name: event.object.as_ref().map(|asked| asked.name.clone()),
            takes: event.takes,
            pid: event.pid,
            tid: event.tid,
            uid: event.uid,
            target: event.target,
            file: event.file.as_deref().map(escape_bytes),
            comm: escape_bytes(&event.comm),
            cgroup: (!event.cgroup.is_empty()).then(|| escape_bytes(&event.cgroup)),
            executable: escape_bytes(&event.executable),
            digest: event.digest.as_ref().map(ToString::to_string),
            key: event.key.as_ref().map(ToString::to_string),
            publisher: publisher.map(str::to_owned),
            script: script.and_then(|script| Some(script.name.as_ref()?.to_string())),
            script_digest: script.map(|script| script.digest.to_string()),
        }
    }

    /// Whether all texts are as [`Line::new`] escapes them. They go into files that are
    /// executed, and on terminals; a recording may come from elsewhere.
    pub fn is_escaped(&self) -> bool {
        let optional = [
            &self.command,
            &self.object,
            &self.name,
            &self.file,
            &self.cgroup,
            &self.digest,
            &self.key,
            &self.publisher,
            &self.script,
            &self.script_digest,
        ];
        let always = [
            &self.time,
            &self.action,
            &self.outcome,
            &self.reason,
            &self.comm,
            &self.executable,
        ];
        let mut texts = optional.into_iter().flatten().chain(always);
        texts.all(|text| is_escaped(text))
    }

    /// Whether this was, or would have been, refused.
    pub fn is_refusal(&self) -> bool {
        self.outcome != "allowed"
    }
}

/// Lists by kind; one that is empty is left out.
fn write_takes<S: Serializer>(takes: &Rights, serializer: S) -> Result<S::Ok, S::Error> {
    let mut lists = rights_as_json(takes);
    lists.retain(|_, list| list.as_array().is_none_or(|list| !list.is_empty()));
    lists.serialize(serializer)
}

fn read_takes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rights, D::Error> {
    let lists = Map::<String, Value>::deserialize(deserializer)?;
    let mut rights = Rights::NONE;
    for (label, list) in &lists {
        let kind = Vocabulary::ALL
            .into_iter()
            .find(|kind| kind.label() == label)
            .ok_or_else(|| D::Error::custom(format!("takes: {label:?} is no kind of right")))?;
        let list = list
            .as_array()
            .ok_or_else(|| D::Error::custom(format!("takes: {label} is no list")))?;
        for entry in list {
            let number = match entry {
                Value::String(name) => kind.number(name),
                Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
                _ => None,
            };
            if !number.is_some_and(|number| kind.insert(&mut rights, number)) {
                return Err(D::Error::custom(format!(
                    "takes: {entry} is not among {label}"
                )));
            }
        }
    }
    Ok(rights)
}
