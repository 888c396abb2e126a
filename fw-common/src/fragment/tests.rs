//! Datagrams cut at random, in random order, with repetitions and forgeries.

use super::*;
