//! Who changes the policy: as the kernel says, and besides, as the caller says.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

/// Who, or what, asks for a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// By which way: "fwctl", "watch", "reload", "start" or "deadline".
    pub by: String,
    /// The user of the process at the other end of the socket, as the kernel names it (`SO_PEERCRED`, unix(7)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// That user's name on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// For whom that process says that it asks, such as the user who called sudo. Nobody vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

/// The longest name that is taken from a caller, in bytes.
const LONGEST_TOLD: usize = 128;

impl Who {
    /// The agent itself, and what made it act.
    #[must_use]
    pub fn agent(by: &str) -> Self {
        Self { by: by.to_owned(), ..Self::default() }
    }

    /// A client of the socket.
    #[must_use]
    pub fn client(uid: u32, told: Option<&str>) -> Self {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let told = told.map(|told| told.chars().filter(|char| !char.is_control()).collect::<String>());
        let told = told.filter(|told| !told.is_empty() && told.len() <= LONGEST_TOLD);
        Self { by: "fwctl".to_owned(), uid: Some(uid), user: name_in(&passwd, uid), told }
    }
}

/// The name of a user in a file of the format of passwd(5).
fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    passwd.lines().find_map(named)
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, self.uid) {
            (Some(user), _) => write!(f, "{user}")?,
            (None, Some(uid)) => write!(f, "uid {uid}")?,
            (None, None) => write!(f, "{}", self.by)?,
        }
        self.told.as_ref().map_or(Ok(()), |told| write!(f, " for {told}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_the_names_of_this_machine() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!((name_in(passwd, 1000), name_in(passwd, 7)), (Some("anna".to_owned()), None));
    }

    #[test]
    fn what_a_caller_says_of_itself_stays_on_one_line() {
        let who = Who::client(4_000_000_000, Some("anna\n(1000)"));
        assert_eq!(who.to_string(), "uid 4000000000 for anna(1000)");
        assert_eq!(Who::client(0, Some(&"x".repeat(200))).told, None);
        assert_eq!(Who::agent("watch").to_string(), "watch");
    }
}
