//! What people and AWS do to the hardware: unplugging an interface, plugging it in, replacing a host.

use super::node::{Eni, Host, Node, mac_text};
use super::{Lab, network, topology};
use crate::LabError;

impl Lab {
    /// Detaches an interface from the firewall: the device vanishes, with its addresses and routes.
    pub fn unplug(&self, eni: Eni) -> Result<(), LabError> {
        network::ip_batch(Some(self.ns(Node::Fw)), &[format!("link del {}", eni.name)])
    }

    /// Attaches an interface to the firewall: a new device with the old hardware address; addresses as DHCP gives them.
    pub fn plug(&self, eni: Eni) -> Result<(), LabError> {
        let link = topology::eni_link(eni);
        self.create_link(link)?;
        network::ip_batch(Some(self.ns(Node::Fw)), &topology::eni_lines(eni))?;
        self.join_bridge(link, 1)
    }

    /// Replaces an on-link host by another that has its addresses but its own hardware address, and that says nothing by itself.
    pub fn replace_host(&self, host: Host, mac: [u8; 6]) -> Result<(), LabError> {
        let link = topology::host_link(host);
        network::ip_batch(Some(self.ns(host.node)), &["link del eth0".to_owned()])?;
        self.create_link(link)?;
        let mut lines = vec![format!("link set eth0 address {}", mac_text(mac))];
        lines.extend(topology::host_lines(host));
        network::ip_batch(Some(self.ns(host.node)), &lines)?;
        self.join_bridge(link, host.ipv4.octets()[2])
    }

    fn create_link(&self, link: topology::Link) -> Result<(), LabError> {
        network::ip_batch(None, &[topology::create_link(&self.name, link, self.mtu)])?;
        for end in [link.0, link.1] {
            network::set_offloads(self.ns(end.node), end.interface)?;
        }
        Ok(())
    }

    /// Puts the router's end of a pair back on the bridge of its subnet.
    fn join_bridge(&self, link: topology::Link, subnet: u8) -> Result<(), LabError> {
        let port = link.1;
        let lines =
            [format!("link set {} master subnet{subnet}", port.interface), format!("link set {} up", port.interface)];
        network::ip_batch(Some(self.ns(port.node)), &lines)
    }
}
