"""Who brought whom: members' codes, and the referrer of a member, recorded once."""
