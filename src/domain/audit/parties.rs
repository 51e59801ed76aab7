//! The parties of a change: its originator, its object, and the request that asked for it.

use std::net::IpAddr;

use crate::domain::{Caller, Key, Person};
use crate::model::{EnvironmentId, InvitationId, KeyId, OrganisationId, UserId};

/// Characters of a user agent that are stored; the rest is cut off.
const MAX_USER_AGENT: usize = 256;

/// The kind of an originator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorType {
    /// A person.
    Person,
    /// An API key.
    Key,
    /// A command on the server's machine.
    Cli,
    /// The server itself.
    System,
}

impl ActorType {
    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Key => "key",
            Self::Cli => "cli",
            Self::System => "system",
        }
    }
}

/// The originator of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditActor {
    /// The kind.
    pub kind: ActorType,
    /// The id; for a command and for the server, the kind.
    pub id: String,
    /// The name at the moment of the change.
    pub label: String,
}

impl AuditActor {
    /// A person, labelled with the e-mail address.
    pub fn person(id: UserId, email: &str) -> Self {
        Self { kind: ActorType::Person, id: id.to_string(), label: email.to_owned() }
    }

    /// An API key.
    pub fn key(key: &Key) -> Self {
        Self { kind: ActorType::Key, id: key.id.to_string(), label: key_label(&key.name, &key.prefix) }
    }

    /// A command.
    pub fn cli(command: &'static str) -> Self {
        Self { kind: ActorType::Cli, id: ActorType::Cli.as_str().to_owned(), label: command.to_owned() }
    }

    /// The server, in one of its tasks.
    pub fn system(task: &'static str) -> Self {
        Self { kind: ActorType::System, id: ActorType::System.as_str().to_owned(), label: task.to_owned() }
    }
}

impl From<&Person> for AuditActor {
    fn from(person: &Person) -> Self {
        Self::person(person.id, &person.email)
    }
}

impl From<&Caller> for AuditActor {
    fn from(caller: &Caller) -> Self {
        match caller {
            Caller::Person(person) => person.into(),
            Caller::Key(key) => Self::key(key),
        }
    }
}

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetType {
    /// An account.
    Account,
    /// An organisation.
    Organisation,
    /// An environment.
    Environment,
    /// An invitation.
    Invitation,
    /// A key.
    Key,
    /// The whole server.
    Server,
}

impl TargetType {
    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Organisation => "organisation",
            Self::Environment => "environment",
            Self::Invitation => "invitation",
            Self::Key => "key",
            Self::Server => "server",
        }
    }
}

/// The object of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditTarget {
    /// The kind.
    pub kind: TargetType,
    /// The id; for the server, the kind.
    pub id: String,
    /// The name at the moment of the change.
    pub label: String,
}

impl AuditTarget {
    fn new(kind: TargetType, id: impl ToString, label: &str) -> Self {
        Self { kind, id: id.to_string(), label: label.to_owned() }
    }

    /// An account, labelled with its e-mail address.
    pub fn account(id: UserId, email: &str) -> Self {
        Self::new(TargetType::Account, id, email)
    }

    /// An organisation.
    pub fn organisation(id: OrganisationId, name: &str) -> Self {
        Self::new(TargetType::Organisation, id, name)
    }

    /// An environment.
    pub fn environment(id: EnvironmentId, name: &str) -> Self {
        Self::new(TargetType::Environment, id, name)
    }

    /// An invitation, labelled with the address that it is for.
    pub fn invitation(id: InvitationId, email: &str) -> Self {
        Self::new(TargetType::Invitation, id, email)
    }

    /// A key, labelled with its name and the first characters of its string.
    pub fn key(id: KeyId, name: &str, prefix: &str) -> Self {
        Self::new(TargetType::Key, id, &key_label(name, prefix))
    }

    /// The whole server.
    pub fn server() -> Self {
        Self::new(TargetType::Server, TargetType::Server.as_str(), "Latchkey")
    }
}

fn key_label(name: &str, prefix: &str) -> String {
    format!("{name} ({prefix})")
}

/// The request that asked for a change. Empty for a command and for a task of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestOrigin {
    /// The client's address, after the rules about proxies.
    pub address: Option<IpAddr>,
    /// The header `User-Agent`, without control characters.
    pub user_agent: Option<String>,
    /// The id of the request, as in the log.
    pub request_id: Option<String>,
}

impl RequestOrigin {
    /// Records the origin of a request, with at most 256 characters of the user agent.
    pub fn new(address: Option<IpAddr>, user_agent: Option<&[u8]>, request_id: String) -> Self {
        let user_agent = user_agent.map(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            text.chars().filter(|char| !char.is_control()).take(MAX_USER_AGENT).collect()
        });
        Self { address, user_agent, request_id: Some(request_id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_agent_is_truncated_and_has_no_control_characters() {
        let long = [b"curl/8\r\n\0\x1b[31m".as_slice(), &[b'x'; 1000], b"\xff"].concat();
        let origin = RequestOrigin::new(None, Some(&long), "1".to_owned());
        let user_agent = origin.user_agent.unwrap();
        assert!(user_agent.starts_with("curl/8[31mxxx"), "{user_agent}");
        assert_eq!(user_agent.chars().count(), MAX_USER_AGENT);
        assert_eq!(RequestOrigin::new(None, None, "1".to_owned()).user_agent, None);
    }
}
