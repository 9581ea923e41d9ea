//! Users, passwords, roles, and the policy that grants or refuses.
