"""What a user's own traffic would cost a month at the providers they consider, with and without Limpet."""
