//! Input cut into pieces, as several targets want it: a byte that says what to do, a byte of length, so many bytes.

/// The pieces; the last one may be shorter than it says.
pub fn pieces(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [what, length, more @ ..] = rest else { return None };
        let (piece, next) = more.split_at(more.len().min(usize::from(*length)));
        rest = next;
        Some((*what, piece))
    })
}
