//! Conditions that name what there is not: a mistake of whoever asks, and not an empty answer.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::firewall::Firewall;

#[test]
fn a_name_that_is_not_there_is_a_mistake_that_names_the_nearest_one() {
    let Some(firewall) = Firewall::up() else { return };
    for (arguments, told) in [
        (&["flows", "--zone", "dmz"][..], "there is no zone \"dmz\". Known: link, management, local, "),
        (&["flows", "--rule", "lab-wbe"], "there is no rule \"lab-wbe\"; did you mean \"lab-web\"?"),
        (&["flows", "--state", "establish"], "there is no state \"establish\"; did you mean \"established\"?"),
        (&["flows", "--protocol", "256"], "there is no protocol \"256\""),
        (&["flows", "top", "--zone", "on-prem"], "did you mean \"onprem\"?"),
        (&["flows", "kill", "--rule", "lab-wbe"], "did you mean \"lab-web\"?"),
        (&["observe", "--zone", "dmz"], "there is no zone \"dmz\""),
        (&["observe", "--rule", "lab-wbe"], "did you mean \"lab-web\"?"),
        (&["observe", "--reason", "polic"], "there is no reason \"polic\"; did you mean \"policy\"?"),
        (&["observe", "--protocol", "tpc"], "there is no protocol \"tpc\"; did you mean \"tcp\"?"),
        (&["capture", "-w", "-", "--port", "0"], "0 is not in 1..=65535"),
        (&["capture", "-w", "-", "--reason", "idle"], "there is no drop reason \"idle\""),
        (
            &["capture", "-w", "-", "--interface", "eth9"],
            "there is no interface \"eth9\". Known: ens6, ens7, ens8, ens5",
        ),
    ] {
        let refused = firewall.agent.fwctl(arguments).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains(told), "{arguments:?}: {refused:?}");
    }
    for known in [&["--zone", "local"][..], &["--rule", "default"], &["--state", "Time-Wait"], &["--protocol", "253"]] {
        firewall.agent.fwctl(&[&["flows"], known].concat()).unwrap().success().unwrap();
    }
    let mut socket = UnixStream::connect(firewall.agent.socket()).unwrap();
    socket.write_all(b"{\"command\":\"capture\",\"port\":0}\n").unwrap();
    let mut refusal = String::new();
    socket.read_to_string(&mut refusal).unwrap();
    assert!(refusal.contains("port 0 is no port to capture") && refusal.contains("\"usage\":true"), "{refusal}");
}
