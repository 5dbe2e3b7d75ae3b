"""Events and their bookings."""
