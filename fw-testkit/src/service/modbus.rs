//! Modbus over TCP (MODBUS Messaging on TCP/IP Implementation Guide V1.0b): function 3, "read holding registers". Register N
//! holds the value N.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READ_HOLDING_REGISTERS: u8 = 3;
const ILLEGAL_FUNCTION: u8 = 1;
const ILLEGAL_VALUE: u8 = 3;

/// The most registers of one read (MODBUS Application Protocol V1.1b3, 6.3).
const MOST_REGISTERS: u16 = 125;

pub(super) async fn converse(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut header = [0; 7];
        stream.read_exact(&mut header).await?;
        // The length counts the unit identifier, which is the header's last byte.
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let mut request = vec![0; length.saturating_sub(1)];
        stream.read_exact(&mut request).await?;
        let response = answer(&request);
        let mut frame = header[..4].to_vec();
        frame.extend((response.len() as u16 + 1).to_be_bytes());
        frame.push(header[6]);
        frame.extend(response);
        stream.write_all(&frame).await?;
    }
}

fn answer(request: &[u8]) -> Vec<u8> {
    match *request {
        [READ_HOLDING_REGISTERS, start_high, start_low, count_high, count_low] => {
            let start = u16::from_be_bytes([start_high, start_low]);
            let count = u16::from_be_bytes([count_high, count_low]);
            if !(1..=MOST_REGISTERS).contains(&count) {
                return vec![READ_HOLDING_REGISTERS | 0x80, ILLEGAL_VALUE];
            }
            let mut response = vec![READ_HOLDING_REGISTERS, (count * 2) as u8];
            response.extend((0..count).flat_map(|offset| start.wrapping_add(offset).to_be_bytes()));
            response
        }
        [function, ..] => vec![function | 0x80, ILLEGAL_FUNCTION],
        [] => vec![0x80, ILLEGAL_FUNCTION],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_hold_their_own_numbers() {
        assert_eq!(answer(&[3, 0, 7, 0, 2]), [3, 4, 0, 7, 0, 8]);
    }

    #[test]
    fn other_functions_and_too_many_registers_are_exceptions() {
        assert_eq!(answer(&[6, 0, 7, 0, 2]), [0x86, ILLEGAL_FUNCTION]);
        assert_eq!(answer(&[3, 0, 0, 0, 126]), [0x83, ILLEGAL_VALUE]);
    }
}
