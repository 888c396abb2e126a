//! Interfaces as devices of the lab: while one is attached, a veth leads from the network name space that the instance is
//! to the router of the interface's VPC. As on EC2 it is a new device with the interface's hardware address, down and
//! without any other address, each time it is plugged in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::devices::Devices;
use super::model::Event;
use crate::LabError;
use crate::lab::{ip_batch, mac_text, set_offloads};
use crate::netns::NetNs;

/// The number of the first device's name: `ens5` is what the primary interface of a Nitro instance is called.
const FIRST: u32 = 5;

/// Where an interface leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The network name space of the router.
    pub namespace: String,
    /// What the veth's end is called there.
    pub name: String,
    /// The bridge that it is a port of.
    pub bridge: Option<String>,
    /// The MTU of both ends, in bytes.
    pub mtu: u32,
}

/// Devices that are plugged into name spaces. Copies are the same devices.
#[derive(Clone, Debug)]
pub struct Veths(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    ports: BTreeMap<String, Port>,
    /// The name space of each instance.
    machines: BTreeMap<String, String>,
    /// What is to be plugged in, by interface.
    plugged: BTreeMap<String, Event>,
    failures: Vec<String>,
}

impl Veths {
    /// For interfaces that lead to these ports; others have no device.
    #[must_use]
    pub fn new(ports: BTreeMap<String, Port>) -> Self {
        Self(Arc::new(Mutex::new(Inner { ports, ..Inner::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which name space an instance is. What is attached to it already is plugged in before this returns.
    ///
    /// # Errors
    /// If a device cannot be made.
    pub fn be(&self, instance: &str, namespace: &NetNs) -> Result<(), LabError> {
        let mut inner = self.lock();
        inner.machines.insert(instance.to_owned(), namespace.name().to_owned());
        let waiting: Vec<Event> = inner.plugged.values().filter(|event| event.instance == instance).cloned().collect();
        waiting.iter().try_for_each(|event| inner.make(event))
    }

    /// What could not be plugged in or out.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.lock().failures.clone()
    }

    /// The name of the device at an index.
    #[must_use]
    pub fn device_name(device_index: u32) -> String {
        format!("ens{}", FIRST + device_index)
    }
}

impl Inner {
    fn make(&self, event: &Event) -> Result<(), LabError> {
        let (Some(machine), Some(port)) = (self.machines.get(&event.instance), self.ports.get(&event.interface)) else {
            return Ok(());
        };
        let (device, mac) = (Veths::device_name(event.device_index), mac_text(event.mac));
        let own = format!("name {device} mtu {} address {mac} netns {machine}", port.mtu);
        let far = format!("name {} mtu {} netns {}", port.name, port.mtu, port.namespace);
        ip_batch(None, &[format!("link add {own} type veth peer {far}")])?;
        let router = NetNs::open(&port.namespace)?;
        let mut lines = vec![format!("link set {} up", port.name)];
        lines.extend(port.bridge.as_ref().map(|bridge| format!("link set {} master {bridge}", port.name)));
        ip_batch(Some(&router), &lines)?;
        set_offloads(&router, &port.name)?;
        set_offloads(&NetNs::open(machine)?, &device)
    }

    /// Takes the router's end away, with which the other goes, wherever it is.
    fn take_away(&self, event: &Event) -> Result<(), LabError> {
        let (Some(_), Some(port)) = (self.machines.get(&event.instance), self.ports.get(&event.interface)) else {
            return Ok(());
        };
        match ip_batch(Some(&NetNs::open(&port.namespace)?), &[format!("link delete {}", port.name)]) {
            // It went with the instance's name space.
            Err(LabError::Command { output, .. }) if output.contains("Cannot find device") => Ok(()),
            taken => taken,
        }
    }

    fn note(&mut self, event: &Event, result: Result<(), LabError>) {
        if let Err(error) = result {
            self.failures.push(format!("{} of {}: {error}", event.interface, event.instance));
        }
    }
}

impl Devices for Veths {
    fn plug(&mut self, event: &Event) {
        let mut inner = self.lock();
        inner.plugged.insert(event.interface.clone(), event.clone());
        let made = inner.make(event);
        inner.note(event, made);
    }

    fn unplug(&mut self, event: &Event) {
        let mut inner = self.lock();
        // One that was late has never come.
        if inner.plugged.remove(&event.interface).is_some() {
            let gone = inner.take_away(event);
            inner.note(event, gone);
        }
    }
}
