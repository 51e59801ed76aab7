//! The table of accounts, and the dialog that asks before one is disabled.

use leptos::prelude::*;

use crate::accounts::Account;
use crate::app::kit::{Moment, ago_or_date, thousands};
use crate::app::links::accounts::{ACCOUNTS, AccountsLink};
use crate::model::{Timestamp, UserId};

/// A page of accounts. `me` is the operator, who cannot disable the own account.
#[component]
pub fn AccountsTable(accounts: Vec<Account>, me: UserId, here: AccountsLink, now: Timestamp) -> AnyView {
    let row = move |account: Account| view! { <Row account me here=here.clone() now/> };
    view! {
        <table class="keys-table accounts" role="table" aria-label="Accounts">
            <thead role="rowgroup">
                <tr role="row">
                    <th role="columnheader" scope="col" class="name">"Account"</th>
                    <th role="columnheader" scope="col" class="requests">"Organisations"</th>
                    <th role="columnheader" scope="col">"Operator"</th>
                    <th role="columnheader" scope="col">"Registered"</th>
                    <th role="columnheader" scope="col">"State"</th>
                    <th role="columnheader" scope="col"><span class="visually-hidden">"Actions"</span></th>
                </tr>
            </thead>
            <tbody role="rowgroup">{accounts.into_iter().map(row).collect_view()}</tbody>
        </table>
    }
    .into_any()
}

#[component]
fn Row(account: Account, me: UserId, here: AccountsLink, now: Timestamp) -> AnyView {
    let id = account.id;
    let (state_class, state) =
        if account.disabled_at.is_some() { ("state revoked", "Disabled") } else { ("state active", "Enabled") };
    let email = account.email.clone();
    let action = if id == me {
        ().into_any()
    } else if account.disabled_at.is_some() {
        view! {
            <form method="post" action=ACCOUNTS>
                <input type="hidden" name="email" value=email.clone()/>
                <input type="hidden" name="change" value="enable"/>
                <input type="hidden" name="return_to" value=here.href()/>
                <button class="button small" type="submit">
                    "Enable" <span class="visually-hidden">" " {email}</span>
                </button>
            </form>
        }
        .into_any()
    } else {
        view! {
            <a class="button small" href=here.asking(id).href()>
                "Disable" <span class="visually-hidden">" " {email}</span>
            </a>
        }
        .into_any()
    };
    let created = account.created_at;
    view! {
        <tr role="row" class=account.disabled_at.map(|_| "ended")>
            <th role="rowheader" scope="row" class="name">
                <span class="title"><bdi>{account.email.clone()}</bdi> {(id == me).then_some(" (you)")}</span>
                <code class="sub">{id.to_string()}</code>
            </th>
            <td role="cell" class="requests" data-label="Organisations">{thousands(account.organisations)}</td>
            <td role="cell" class="scopes" data-label="Operator">{if account.is_operator { "Yes" } else { "No" }}</td>
            <td role="cell" class="created" data-label="Registered">
                <Moment at=created words=ago_or_date(now, created)/>
            </td>
            <td role="cell" class="state-cell"><span class=state_class>{state}</span></td>
            <td role="cell" class="act">{action}</td>
        </tr>
    }
    .into_any()
}

/// The dialog that asks before an account is disabled. Needs no WASM.
#[component]
pub fn DisableDialog(email: String, here: AccountsLink) -> AnyView {
    let back = here.without_dialog().href();
    view! {
        <dialog
            class="dialog narrow"
            id="disable-account"
            aria-labelledby="disable-title"
            aria-describedby="disable-what"
            open
        >
            <form method="post" action=ACCOUNTS>
                <input type="hidden" name="email" value=email.clone()/>
                <input type="hidden" name="change" value="disable"/>
                <input type="hidden" name="return_to" value=back.clone()/>
                <header class="dialog-head"><h2 id="disable-title">"Disable this account?"</h2></header>
                <div class="dialog-body">
                    <div class="subject"><strong><bdi>{email}</bdi></strong></div>
                    <p id="disable-what">
                        "All of its sessions and tokens end immediately, and it cannot sign in until you enable it "
                        "again. The API keys that it created stay valid."
                    </p>
                </div>
                <footer class="dialog-foot">
                    <a class="button" href=back autofocus>"Cancel"</a>
                    <button class="button danger" type="submit">"Disable account"</button>
                </footer>
            </form>
        </dialog>
    }
    .into_any()
}
