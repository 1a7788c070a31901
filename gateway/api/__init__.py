"""The admin API: endpoints, what was delivered to them and what was not, and deliveries made again."""
