//! The texts of the pages of this area.

use crate::accounts::Password;
use crate::app::kit::{counted, isolate, thousands};
use crate::model::Role;
use crate::teams::{MAX_ENVIRONMENTS, MAX_INVITATIONS, MAX_OWNED};

// Actions of dialogs and forms.
pub const CANCEL: &str = "Cancel";
pub const SAVE: &str = "Save";
pub const NAME: &str = "Name";
pub const EMAIL: &str = "Email";
pub const ROLE: &str = "Role";

// Access.
pub const NO_GENERAL: &str = "An owner or an admin of the organisation can change its name.";
pub const NO_DELETE: &str = "Only an owner can delete the organisation.";
pub const NO_MEMBERS: &str = "An owner or an admin of the organisation manages its members.";
pub const NO_INVITATIONS: &str = "An owner or an admin of the organisation sees and makes invitations.";
pub const NO_ENVIRONMENTS: &str = "An owner or an admin of the organisation manages its environments.";
pub const NO_RETENTION: &str = "An owner or an admin of the organisation says how long its events are kept.";

// Refusals.
pub const LAST_OWNER: &str =
    "An organisation needs an owner, and this is the last one. Make another member an owner first.";
pub const LAST_ENVIRONMENT: &str =
    "An organisation needs an environment that is not archived, and this is the last one.";
pub const ALREADY_MEMBER: &str = "This address belongs to a member already.";
pub const KEYS_ARE_CREATED: &str = "Keys are created as fast as they are revoked. Try again in a moment.";
pub const UNCONFIRMED: &str =
    "The change is stored. A node that has not followed it may use the old state until its lease ends.";
pub const NOT_CHANGED: &str = "Nothing was changed";
pub const NOT_CONFIRMED: &str = "Not confirmed by every node";
pub const STALE: &str = "Nothing was saved: it was changed elsewhere after this page was opened. Compare, then save again to \
                         replace it with yours.";

pub fn too_many_environments() -> String {
    format!(
        "An organisation has at most {MAX_ENVIRONMENTS} environments, archived ones included. Open an archived one again."
    )
}

pub fn too_many_invitations() -> String {
    format!("An organisation has at most {MAX_INVITATIONS} open invitations. Delete some.")
}

pub fn too_many_organisations() -> String {
    format!("You own {MAX_OWNED} organisations, as many as a person may.")
}

// General.
pub const GENERAL: &str = "General";
pub const GENERAL_LEAD: &str = "The name of the organisation, and its end.";
pub const NAME_HINT: &str = "Shown in menus and invitations. Up to 100 characters.";
pub const RENAME: &str = "Rename";
pub const YOUR_ROLE: &str = "Your role";
pub const ID: &str = "ID";
pub const DELETE_TITLE: &str = "Delete this organisation";
pub const DELETE_ACTION: &str = "Delete organisation";
pub const DELETE_KEPT: &str = "Members lose access, and events are erased. The audit log stays. This cannot be undone.";
pub const DELETE_CONFIRM: &str = "Type the name of the organisation to confirm";
pub const DELETE_OTHER_NAME: &str = "This is not the name of the organisation.";

pub fn renamed(name: &str) -> String {
    format!("Organisation renamed to “{}”", isolate(name))
}

pub const RENAMED_DETAIL: &str = "Members see the new name at once";

pub const NO_KEYS_REVOKED: &str = "It had no active keys";

pub fn delete_what(keys: i64) -> String {
    match keys {
        0 => "No key is revoked: the organisation has no active one.".to_owned(),
        _ => format!("Revokes {}: requests fail (401) on every node.", counted(keys, "key", "keys")),
    }
}

pub fn delete_question(name: &str) -> String {
    format!("Delete “{}”?", isolate(name))
}

pub fn deleted(name: &str) -> String {
    format!("Organisation “{}” deleted", isolate(name))
}

// Members.
pub const MEMBERS: &str = "Members";
pub const MEMBERS_LEAD: &str = "People with access to this organisation, and the keys that they made.";
pub const INVITE_PEOPLE: &str = "Invite people";
pub const MORE_MEMBERS: &str = "More members";
pub const FIRST_MEMBERS: &str = "First members";
pub const PERSON: &str = "Person";
pub const JOINED: &str = "Joined";
pub const LAST_SEEN: &str = "Last seen";
pub const ACTIVE_KEYS: &str = "Active keys";
pub const ACTIONS: &str = "Actions";
pub const YOU: &str = " (you)";
pub const NEVER: &str = "Never";
pub const REMOVE: &str = "Remove";
pub const LEAVE: &str = "Leave";
pub const LAST_OWNER_NOTE: &str =
    "This is the only owner, who cannot leave or step down. Make another member an owner first.";
pub const KEEP_KEYS: &str = "Keep";
pub const KEEP_WHAT: &str = "Requests go on to be accepted. Owners and admins manage the keys.";
pub const REVOKE_KEYS: &str = "Revoke";
pub const REVOKE_WHAT: &str = "Requests fail (401) immediately. A revoked key cannot be restored.";
pub const KEYS_UNDECIDED: &str = "Choose what happens to the keys.";
pub const REMOVED_KEPT: &str = "Access ended at once";
pub const REMOVE_MEMBER: &str = "Remove member";
pub const REMOVE_EFFECT: &str = "Access to this organisation ends at once, on every node. The account stays.";
pub const LEAVE_ACTION: &str = "Leave organisation";
pub const LEAVE_EFFECT: &str = "You lose access at once. To come back, you need an invitation.";

pub fn role(role: Role) -> &'static str {
    match role {
        Role::Owner => "Owner",
        Role::Admin => "Admin",
        Role::Member => "Member",
        Role::Viewer => "Viewer",
    }
}

pub fn role_what(role: Role) -> &'static str {
    match role {
        Role::Owner => "Everything, owners and deletion included",
        Role::Admin => "Every key, settings, and members below owner",
        Role::Member => "Creates keys, and manages their own",
        Role::Viewer => "Sees keys, events and members",
    }
}

pub fn role_of(email: &str) -> String {
    format!("Role of {email}")
}

pub fn role_changed(email: &str, new: Role) -> String {
    format!(
        "{} is {} now",
        isolate(email),
        match new {
            Role::Owner => "an owner",
            Role::Admin => "an admin",
            Role::Member => "a member",
            Role::Viewer => "a viewer",
        }
    )
}

pub const ROLE_CHANGED_DETAIL: &str = "In effect with the next request";

pub fn role_stale(email: &str, now: Role) -> String {
    format!(
        "Nothing was saved: the role of {} was changed elsewhere after this page was opened. Now: {}. Save again to \
         replace it with yours.",
        isolate(email),
        role(now)
    )
}

pub fn remove_question(email: &str) -> String {
    format!("Remove {}?", isolate(email))
}

pub fn leave_question(organisation: &str) -> String {
    format!("Leave “{}”?", isolate(organisation))
}

pub fn keys_question(keys: i64, is_self: bool) -> String {
    let made = if is_self { "You made" } else { "This person made" };
    format!(
        "{made} {} that can be used. What happens to {}?",
        counted(keys, "key", "keys"),
        if keys == 1 { "it" } else { "them" }
    )
}

pub fn removed(email: &str) -> String {
    format!("{} removed", isolate(email))
}

pub fn left(organisation: &str) -> String {
    format!("You left “{}”", isolate(organisation))
}

// Invitations.
pub const INVITATIONS: &str = "Invitations";
pub const INVITATIONS_LEAD: &str = "An invitation is a link for one person. It works once, for 7 days.";
pub const INVITE_TITLE: &str = "Invite a person";
pub const INVITE: &str = "Create invitation";
pub const ROLE_MISSING: &str = "Choose a role.";
pub const INVITE_HINT: &str = "A second invitation of an address replaces the first.";
pub const OPEN_INVITATIONS: &str = "Open invitations";
pub const NO_OPEN: &str = "No open invitations.";
pub const CREATED: &str = "Created";
pub const EXPIRES: &str = "Expires";
pub const DELETE: &str = "Delete";
pub const LINK_ONCE: &str = "This is the only time you will see this link.";
pub const LINK_WHO: &str = " Anyone who has it can accept the invitation. Send it on a channel that you trust.";
pub const INVITATION_DELETED_DETAIL: &str = "Its link works no longer";

pub fn link_for(email: &str) -> String {
    format!("Send this link to {}", isolate(email))
}

pub fn invitation_deleted(email: &str) -> String {
    format!("Invitation of {} deleted", isolate(email))
}

// Environments.
pub const ENVIRONMENTS: &str = "Environments";
pub const ENVIRONMENTS_LEAD: &str = "Each environment has its own keys and events. The mode is part of every key.";
pub const ENVIRONMENT: &str = "Environment";
pub const EVENTS_KEPT: &str = "Events kept";
pub const STATE: &str = "State";
pub const OPEN: &str = "Open";
pub const ARCHIVED: &str = "Archived";
pub const NEW_ENVIRONMENT: &str = "New environment";
pub const CREATE_ENVIRONMENT: &str = "Create environment";
pub const MODE: &str = "Mode";
pub const MODE_LIVE: &str = "live: real traffic";
pub const MODE_TEST: &str = "test: development";
pub const MODE_HINT: &str = "Cannot be changed later.";
pub const MODE_MISSING: &str = "Choose a mode.";
pub const BACK_TO_ENVIRONMENTS: &str = "Environments";
pub const SEE_KEYS: &str = "Keys";
pub const ARCHIVE_TITLE: &str = "Archive";
pub const ARCHIVE_LEAD: &str =
    "An archived environment gets no new keys. Its revoked keys and its events stay visible.";
pub const ARCHIVE_ACTION: &str = "Archive environment";
pub const UNARCHIVE_ACTION: &str = "Open again";
pub const UNARCHIVE_LEAD: &str =
    "This environment is archived. Opened again, it can get new keys. Revoked keys stay revoked.";
pub const ARCHIVED_DETAIL: &str = "It gets no new keys";
pub const UNARCHIVED_DETAIL: &str = "It can get new keys";

pub fn environment_created(name: &str) -> String {
    format!("Environment “{}” created", isolate(name))
}

pub const ENVIRONMENT_CREATED_DETAIL: &str = "Choose it in the menu of environments";

pub fn environment_renamed(name: &str) -> String {
    format!("Environment renamed to “{}”", isolate(name))
}

pub fn environment_archived(name: &str) -> String {
    format!("Environment “{}” archived", isolate(name))
}

pub fn environment_opened(name: &str) -> String {
    format!("Environment “{}” opened again", isolate(name))
}

pub fn archive_question(name: &str) -> String {
    format!("Archive “{}”?", isolate(name))
}

pub fn archive_what(keys: i64) -> String {
    match keys {
        0 => "It has no active key, so nothing is revoked.".to_owned(),
        _ => format!(
            "{} will be revoked: requests with {} fail (401) immediately. A revoked key cannot be restored.",
            counted(keys, "active key", "active keys"),
            if keys == 1 { "it" } else { "them" }
        ),
    }
}

pub fn archive_button(keys: i64) -> String {
    match keys {
        0 => ARCHIVE_ACTION.to_owned(),
        _ => format!("Revoke {} and archive", counted(keys, "key", "keys")),
    }
}

pub fn archived_detail(keys: i64) -> String {
    match keys {
        0 => ARCHIVED_DETAIL.to_owned(),
        _ => "Its keys are revoked on every node, and it gets no new ones".to_owned(),
    }
}

// Retention.
pub const RETENTION: &str = "Event retention";
pub const RETENTION_LEAD: &str = "Events are deleted once either limit is reached, within a minute.";
pub const KEEP_DAYS: &str = "Keep for, in days";
pub const KEEP_EVENTS: &str = "At most, in events";
pub const DAYS: &str = "days";
pub const EVENTS: &str = "events";
pub const DELETE_EVENTS: &str = "Delete events";
pub const DELETE_EVENTS_WHAT: &str = "Saving deletes them within a minute. They cannot be restored.";

pub fn kept(days: i64, limit: i64) -> String {
    format!("{}, at most {} events", counted(days, "day", "days"), thousands(limit))
}

pub fn keeps(name: &str, days: i64) -> String {
    format!("{} keeps events for {}", isolate(name), counted(days, "day", "days"))
}

pub fn keeps_detail(limit: i64) -> String {
    format!("At most {} of them", thousands(limit))
}

pub fn delete_events_question(events: i64, name: &str) -> String {
    format!("Delete {} of “{}”?", counted(events, "event", "events"), isolate(name))
}

pub fn delete_events_why(days: i64, limit: i64) -> String {
    format!("Older than {}, or beyond the newest {}.", counted(days, "day", "days"), thousands(limit))
}

// New organisation.
pub const NEW_TITLE: &str = "New organisation";
pub const NEW_LEAD: &str = "It has its own keys, environments and members. You are its owner.";
pub const NEW_NONE: &str = "You are in no organisation.";
pub const NEW_NONE_LEAD: &str = " Create one here. To join another, ask one of its owners to invite ";
pub const NEW_ENVIRONMENTS: &str = "It begins with the environments Production (live) and Development (test).";
pub const CREATE_ORGANISATION: &str = "Create organisation";
pub const ORGANISATION_CREATED_DETAIL: &str = "With the environments Production and Development";

pub fn organisation_created(name: &str) -> String {
    format!("Organisation “{}” created", isolate(name))
}

// Accepting an invitation.
pub const INVITED: &str = "You are invited";
pub const INVITED_LEAD: &str = "To manage API keys together.";
pub const ORGANISATION: &str = "Organisation";
pub const ADDRESS: &str = "Address";
pub const JOIN: &str = "Join";
pub const JOIN_AS_NEW: &str = "Create account and join";
pub const SIGN_IN_TO_JOIN: &str = "Sign in to join";
pub const HAS_ACCOUNT: &str = "This address has an account. Sign in, then join.";
pub const OTHER_ADDRESS: &str = "The invitation is for another address. You are signed in as ";
pub const OTHER_ADDRESS_NEXT: &str = ". Sign out, then go on as the invited person.";
pub const SIGN_OUT: &str = "Sign out and go on";
pub const OTHER_INVITATION: &str =
    "Another invitation was opened in this browser meanwhile. This is it: check it, then join.";
pub const DEAD_TITLE: &str = "This invitation does not work";
pub const DEAD_WHY: &str =
    "It was used, deleted or replaced by a newer one, or it is older than 7 days. The link may also be cut.";
pub const DEAD_NEXT: &str = "Ask the person who sent it for a new link. If you have joined already, sign in.";
pub const DEAD_HOME: &str = "Sign in";
pub const JOINED_DETAIL: &str = "Its keys are on this page";

pub fn password_hint() -> String {
    format!("{} to {} characters. A sentence is fine.", Password::MIN_CHARS, Password::MAX_CHARS)
}

pub fn joined(organisation: &str) -> String {
    format!("You joined “{}”", isolate(organisation))
}
