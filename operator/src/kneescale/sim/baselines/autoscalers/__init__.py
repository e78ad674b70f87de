"""The autoscalers that most clusters have, each by the rules that its authors publish."""
