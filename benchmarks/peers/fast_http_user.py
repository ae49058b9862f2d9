"""What one writes first with Locust: a FastHttpUser that sends a sync, waits for its answer, and sends the next.  A closed loop."""

import json

from locust import FastHttpUser, constant, task

BODY = json.dumps(
    {
        "device_id": "member-1",
        "platform": "android",
        "app_version": "2.3.1",
        "samples": [{"seq": 1, "day": "2026-01-27", "steps": 8123, "recorded_at": "2026-01-27T22:10:05+09:00", "source": "watch"}],
    }
)


class Member(FastHttpUser):
    """One of many, always with one request on its way."""

    wait_time = constant(0)

    @task
    def sync(self) -> None:
        """The next one."""
        self.client.post("/v1/syncs", data=BODY, headers={"Content-Type": "application/json"})
