//! How many hits chance would give.

use ipnet::IpNet;

use super::scan::Encoding;

/// What was looked at, by encoding: the ground that chance has.
#[derive(Clone, Debug)]
pub(super) struct Odds {
    /// Bytes of a window before this one were counted with the window before.
    fresh: usize,
    bytes: u64,
    by_byte: [u64; 256],
    base64_bytes: u64,
    hex_runs: u64,
    hex_digits: u64,
    by_digit: [u64; 16],
    separated: u64,
    decimals: u64,
}

impl Default for Odds {
    fn default() -> Self {
        Odds {
            fresh: 0,
            bytes: 0,
            by_byte: [0; 256],
            base64_bytes: 0,
            hex_runs: 0,
            hex_digits: 0,
            by_digit: [0; 16],
            separated: 0,
            decimals: 0,
        }
    }
}

/// Above this probability hits are put down to chance.
pub(super) const CHANCE_FROM: f64 = 1e-3;

impl Odds {
    /// Only what begins at or behind `fresh` in the next window is new ground.
    pub(super) fn fresh_from(&mut self, fresh: usize) {
        self.fresh = fresh;
    }

    pub(super) fn is_fresh(&self, at: usize) -> bool {
        at >= self.fresh
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(self.fresh..).unwrap_or_default();
        self.bytes += bytes.len() as u64;
        for byte in bytes {
            if let Some(count) = self.by_byte.get_mut(usize::from(*byte)) {
                *count += 1;
            }
        }
    }

    pub(super) fn base64(&mut self, decoded: &[u8]) {
        self.base64_bytes += decoded.len() as u64;
    }

    pub(super) fn hex_run(&mut self, at: usize, digits: &[u8]) {
        if !self.is_fresh(at) {
            return;
        }
        self.hex_runs += 1;
        for digit in digits {
            if let Some(value) = super::views::hex_digit(*digit)
                && let Some(count) = self.by_digit.get_mut(usize::from(value))
            {
                *count += 1;
                self.hex_digits += 1;
            }
        }
    }

    pub(super) fn separated(&mut self, at: usize) {
        self.separated += u64::from(self.is_fresh(at));
    }

    pub(super) fn decimal(&mut self, at: usize) {
        self.decimals += u64::from(self.is_fresh(at));
    }

    /// How many hits chance gives for a network in an encoding: places looked at, times the share
    /// of all addresses that it holds. Bytes are not evenly spread, so what the bytes at hand
    /// would give, were they shuffled, counts where it is more.
    pub(super) fn expected(&self, network: &IpNet, encoding: Encoding) -> f64 {
        let share = match network {
            IpNet::V4(network) => 0.5f64.powi(i32::from(network.prefix_len())),
            IpNet::V6(network) => 0.5f64.powi(i32::from(network.prefix_len())),
        };
        let even = |places: u64| places as f64 * share;
        match encoding {
            Encoding::Packed | Encoding::PackedReversed | Encoding::PackedV6 => {
                even(self.bytes).max(self.shuffled(network, 8, &self.by_byte, self.bytes))
            }
            Encoding::Base64Packed => even(self.base64_bytes),
            // Both orders are looked at.
            Encoding::Hex => 2.0 * even(self.hex_runs),
            Encoding::HexInside => even(self.hex_digits).max(self.shuffled(
                network,
                4,
                &self.by_digit,
                self.hex_digits,
            )),
            Encoding::HexSeparated => even(self.separated),
            Encoding::Decimal | Encoding::Integer => even(self.decimals),
            _ => 0.0,
        }
    }

    /// Places times the product of how often each unit (byte or digit) of the prefix occurs.
    fn shuffled(&self, network: &IpNet, unit_bits: u8, counts: &[u64], total: u64) -> f64 {
        if total == 0 {
            return 0.0;
        }
        let octets: Vec<u8> = match network.addr() {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        let units: Vec<usize> = octets
            .iter()
            .flat_map(|octet| match unit_bits {
                8 => vec![usize::from(*octet)],
                _ => vec![usize::from(octet >> 4), usize::from(octet & 15)],
            })
            .collect();
        let mut bits_left = network.prefix_len();
        let mut places = total as f64;
        for unit in units {
            let fixed = bits_left.min(unit_bits);
            bits_left -= fixed;
            let free = unit_bits - fixed;
            let matching: u64 = counts.iter().skip(unit).take(1usize << free).sum();
            places *= matching as f64 / total as f64;
        }
        places
    }
}

/// The probability that chance gives `seen` hits or more where it gives `expected` on average
/// (Poisson).
pub(super) fn probability(seen: u64, expected: f64) -> f64 {
    if seen == 0 {
        return 1.0;
    }
    if expected <= 0.0 {
        return 0.0;
    }
    if seen as f64 <= expected {
        return 1.0;
    }
    // The tail's terms shrink from here on, each by expected / n.
    let ln_first = seen as f64 * expected.ln() - expected - ln_factorial(seen);
    let mut term = ln_first.exp();
    let mut sum = term;
    let mut n = seen as f64;
    for _ in 0..1_000 {
        n += 1.0;
        term *= expected / n;
        sum += term;
        if term < sum * 1e-12 {
            break;
        }
    }
    sum.min(1.0)
}

fn ln_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|n| (n as f64).ln()).sum();
    }
    // Stirling, good to 1e-6 from here on.
    let n = n as f64;
    n * n.ln() - n + 0.5 * (2.0 * std::f64::consts::PI * n).ln() + 1.0 / (12.0 * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_of_poisson() {
        let close = |seen, expected, value: f64| {
            let got = probability(seen, expected);
            assert!(
                (got - value).abs() < 1e-6 + value * 1e-4,
                "{seen} {expected}: {got}"
            );
        };
        close(0, 1.0, 1.0);
        close(1, 1e-4, 0.000_099_995);
        close(1, 1.0, 1.0);
        close(3, 1.0, 0.080_301);
        close(10, 2.0, 0.000_046_5);
        assert!(probability(400, 100.0) < 1e-6);
        assert!(probability(5, 0.0) == 0.0);
    }

    #[test]
    fn expected_counts_places_times_share() {
        let mut odds = Odds::default();
        let evenly: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
        odds.bytes(&evenly);
        let expected =
            |network: &str, encoding| odds.expected(&network.parse().expect("a network"), encoding);
        assert!((expected("10.0.0.0/8", Encoding::Packed) - 256.0).abs() < 1e-6);
        assert!((expected("10.15.0.0/16", Encoding::Packed) - 1.0).abs() < 1e-6);
        assert!(expected("10.15.0.0/16", Encoding::Text) == 0.0);
        let mut newlines = Odds::default();
        newlines.bytes(&b"\naaa".repeat(1000));
        let eight = "10.0.0.0/8".parse().expect("a network");
        assert!((newlines.expected(&eight, Encoding::Packed) - 1000.0).abs() < 1e-6);
    }
}
