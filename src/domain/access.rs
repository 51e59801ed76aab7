//! Access: one table of actions and roles. Pages, contracts and commands ask it, and have no rules about roles of their
//! own.

use crate::model::Role;

/// An action that needs a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// See an organisation: its keys, customers, usage, events and members.
    SeeOrganisation,
    /// Create keys.
    CreateKeys,
    /// Edit, pause, rotate and revoke one's own keys.
    ManageOwnKeys,
    /// Edit, pause, rotate and revoke every key of the organisation, in bulk as well; suspend customers.
    ManageAllKeys,
    /// Change environments, retention, service keys, webhooks and the portal.
    ManageSettings,
    /// Invite and remove members, and change roles below owner.
    ManageMembers,
    /// Read the audit entries of one's own actions.
    ReadOwnAudit,
    /// Read every audit entry of the organisation.
    ReadAllAudit,
    /// Make and unmake owners, require a second factor, delete the organisation.
    ManageOwnership,
    /// See the nodes of the server, its accounts, and the names of all organisations.
    SeeServer,
}

/// The holders of a right.
enum Holders {
    /// Members with one of these roles, in their organisation.
    Roles(&'static [Role]),
    /// Operators of the server, with any role.
    Operators,
}

impl Action {
    /// The table of rights.
    const fn holders(self) -> Holders {
        use Role::{Admin, Member, Owner, Viewer};
        match self {
            Self::SeeOrganisation => Holders::Roles(&[Owner, Admin, Member, Viewer]),
            Self::CreateKeys | Self::ManageOwnKeys | Self::ReadOwnAudit => Holders::Roles(&[Owner, Admin, Member]),
            Self::ManageAllKeys | Self::ManageSettings | Self::ManageMembers | Self::ReadAllAudit => {
                Holders::Roles(&[Owner, Admin])
            }
            Self::ManageOwnership => Holders::Roles(&[Owner]),
            Self::SeeServer => Holders::Operators,
        }
    }
}

/// Returns whether a role allows an action in the organisation of the membership.
pub fn may(role: Role, action: Action) -> bool {
    matches!(action.holders(), Holders::Roles(roles) if roles.contains(&role))
}

/// Returns whether an operator of the server may do an action, without any role.
pub fn operator_may(action: Action) -> bool {
    matches!(action.holders(), Holders::Operators)
}

impl Action {
    /// The right to invite somebody to a role, to give a member that role, and to take it away or remove such a member.
    pub fn on_members(role: Role) -> Self {
        if may(role, Self::ManageOwnership) { Self::ManageOwnership } else { Self::ManageMembers }
    }
}

/// The reason why an action is denied. Each contract has its own words for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The caller does not belong there and must not learn that the object exists (404).
    Hidden,
    /// The caller may see the object, but their role does not allow the action (403).
    NotAllowed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_role_and_action_is_as_documented() {
        const YES: bool = true;
        const NO: bool = false;
        // Owner, admin, member, viewer; operator.
        let table = [
            (Action::SeeOrganisation, [YES, YES, YES, YES], NO),
            (Action::CreateKeys, [YES, YES, YES, NO], NO),
            (Action::ManageOwnKeys, [YES, YES, YES, NO], NO),
            (Action::ManageAllKeys, [YES, YES, NO, NO], NO),
            (Action::ManageSettings, [YES, YES, NO, NO], NO),
            (Action::ManageMembers, [YES, YES, NO, NO], NO),
            (Action::ReadOwnAudit, [YES, YES, YES, NO], NO),
            (Action::ReadAllAudit, [YES, YES, NO, NO], NO),
            (Action::ManageOwnership, [YES, NO, NO, NO], NO),
            (Action::SeeServer, [NO, NO, NO, NO], YES),
        ];
        let roles = [Role::Owner, Role::Admin, Role::Member, Role::Viewer];
        assert_eq!(roles, Role::ALL);
        for (action, allowed, operator) in table {
            for (role, allowed) in roles.into_iter().zip(allowed) {
                assert_eq!(may(role, action), allowed, "{role:?} {action:?}");
            }
            assert_eq!(operator_may(action), operator, "{action:?}");
        }
        // The last action has the largest number, so a new one needs a row above.
        assert!(table.iter().enumerate().all(|(row, (action, ..))| *action as usize == row));
        assert_eq!(table.len(), Action::SeeServer as usize + 1);
    }

    #[test]
    fn only_owners_make_and_unmake_owners() {
        assert_eq!(Action::on_members(Role::Owner), Action::ManageOwnership);
        for role in [Role::Admin, Role::Member, Role::Viewer] {
            assert_eq!(Action::on_members(role), Action::ManageMembers);
        }
    }
}
