//! One question to DNS or to the hosts file.
