//! Questions that security teams ask, ready to run.
//!
//! Each is one query of the log explorer. Invariant: each runs as it stands.

/// A question with its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub name: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    pub sql: &'static str,
}

/// The questions, in the order they are shown.
pub const QUESTIONS: [Question; 12] = [
    Question {
        name: "trace-a-person",
        title: "Trace a person",
        about: "Everything one person did in a day, in order.",
        sql: "SELECT Datetime, Action, HTTPMethod, HTTPHost, URL, HTTPStatusCode, PolicyName, SourceIP\n\
            FROM gateway_http\n\
            WHERE Email = 'ada@example.com' AND date >= current_date - INTERVAL '1' DAY\n\
            ORDER BY Datetime DESC LIMIT 500",
    },
    Question {
        name: "exfiltration",
        title: "Exfiltration attempts",
        about: "People who sent much to applications that nobody approved, in the last seven days.",
        sql: "SELECT Email, HTTPHost, COUNT(*) AS requests, SUM(RequestBytes) AS bytes_sent\n\
            FROM gateway_http\n\
            WHERE date >= current_date - INTERVAL '7' DAY AND HTTPMethod IN ('POST', 'PUT', 'PATCH')\n\
            \x20 AND NOT ARRAY_CONTAINS(ApplicationStatuses, 'approved')\n\
            GROUP BY Email, HTTPHost HAVING SUM(RequestBytes) > 10000000\n\
            ORDER BY bytes_sent DESC LIMIT 100",
    },
    Question {
        name: "anomalous-ai",
        title: "Unusual use of AI",
        about: "People whose use of an AI application on one day is over five times their usual day.",
        sql: "WITH days AS (\n\
            \x20 SELECT date, Email, HTTPHost, COUNT(*) AS requests FROM gateway_http\n\
            \x20 WHERE date >= current_date - INTERVAL '30' DAY AND ARRAY_CONTAINS(CategoryNames, 'Artificial Intelligence')\n\
            \x20 GROUP BY date, Email, HTTPHost),\n\
            usual AS (SELECT Email, HTTPHost, AVG(requests) AS mean, COUNT(*) AS days FROM days GROUP BY Email, HTTPHost)\n\
            SELECT d.date, d.Email, d.HTTPHost, d.requests, ROUND(u.mean) AS usual\n\
            FROM days d JOIN usual u ON d.Email = u.Email AND d.HTTPHost = u.HTTPHost\n\
            WHERE u.days >= 5 AND d.requests > 5 * u.mean AND d.requests > 50\n\
            ORDER BY d.requests DESC LIMIT 100",
    },
    Question {
        name: "top-applications",
        title: "Top applications by people",
        about: "Which applications most people used in the last 30 days.",
        sql: "SELECT ApplicationNames[1] AS application, COUNT(DISTINCT Email) AS people, COUNT(*) AS requests,\n\
            \x20 SUM(RequestBytes) AS sent, SUM(ResponseBytes) AS received\n\
            FROM gateway_http WHERE date >= current_date - INTERVAL '30' DAY AND cardinality(ApplicationNames) > 0\n\
            GROUP BY 1 ORDER BY people DESC, requests DESC LIMIT 50",
    },
    Question {
        name: "unapproved",
        title: "Unapproved applications still in use",
        about: "Requests to applications with the status unapproved, by host.",
        sql: "SELECT HTTPHost, COUNT(*) AS n, COUNT(DISTINCT Email) AS users FROM gateway_http\n\
            WHERE date >= current_date - INTERVAL '30' DAY AND ARRAY_CONTAINS(ApplicationStatuses, 'unapproved')\n\
            GROUP BY HTTPHost ORDER BY n DESC LIMIT 20",
    },
    Question {
        name: "new-hosts",
        title: "Hosts nobody had visited before",
        about: "Hosts seen in the last day and not in the 30 days before it.",
        sql: "SELECT HTTPHost, COUNT(*) AS requests, COUNT(DISTINCT Email) AS people, MIN(Datetime) AS first_seen\n\
            FROM gateway_http WHERE date >= current_date - INTERVAL '30' DAY\n\
            GROUP BY HTTPHost HAVING MIN(Datetime) > now() - INTERVAL '1' DAY\n\
            ORDER BY people DESC, requests DESC LIMIT 100",
    },
    Question {
        name: "blocked",
        title: "What is blocked, for whom",
        about: "Blocks of the last seven days by rule, with the people they met.",
        sql: "SELECT PolicyName, COUNT(*) AS blocks, COUNT(DISTINCT Email) AS people, MAX(Datetime) AS last_seen\n\
            FROM gateway_http WHERE Action = 'block' AND date >= current_date - INTERVAL '7' DAY\n\
            GROUP BY PolicyName ORDER BY blocks DESC LIMIT 50",
    },
    Question {
        name: "requests-by-day",
        title: "Requests by day",
        about: "How many requests there were, and how many were blocked, each day of the last 30.",
        sql: "SELECT date, COUNT(*) AS requests, SUM(CASE WHEN Action = 'block' THEN 1 ELSE 0 END) AS blocked\n\
            FROM gateway_http WHERE date >= current_date - INTERVAL '30' DAY GROUP BY date ORDER BY date",
    },
    Question {
        name: "slow-hosts",
        title: "Slow hosts",
        about: "The time to the first byte at the 95th percentile, for hosts with at least 100 requests in seven days.",
        sql: "SELECT HTTPHost, COUNT(*) AS requests, approx_percentile_cont(OriginMicros, 0.95) / 1000 AS p95_ms\n\
            FROM gateway_http WHERE date >= current_date - INTERVAL '7' DAY AND OriginMicros > 0\n\
            GROUP BY HTTPHost HAVING COUNT(*) >= 100 ORDER BY p95_ms DESC LIMIT 50",
    },
    Question {
        name: "refused-sign-ins",
        title: "Refused sign-ins",
        about: "Who was refused at which application in the last seven days, and from where.",
        sql: "SELECT Email, AppDomain, Country, COUNT(*) AS refused, MAX(CreatedAt) AS last_seen FROM access_requests\n\
            WHERE Allowed = false AND date >= current_date - INTERVAL '7' DAY\n\
            GROUP BY Email, AppDomain, Country ORDER BY refused DESC LIMIT 100",
    },
    Question {
        name: "mcp-servers",
        title: "MCP servers in use",
        about: "Servers that people's programs spoke MCP with through the gateway, and the tools they called.",
        sql: "SELECT HTTPHost, MCPServerName, COUNT(DISTINCT Email) AS people, COUNT(*) AS requests,\n\
            \x20 COUNT(DISTINCT MCPTool) AS tools FROM gateway_http\n\
            WHERE IsMCP AND date >= current_date - INTERVAL '30' DAY\n\
            GROUP BY HTTPHost, MCPServerName ORDER BY people DESC LIMIT 50",
    },
    Question {
        name: "changes",
        title: "Changes to the configuration",
        about: "Who changed what in the last seven days.",
        sql: "SELECT \"When\", ActorEmail, Interface, ActionType, ResourceType, ResourceID, ActionResult FROM audit\n\
            WHERE date >= current_date - INTERVAL '7' DAY ORDER BY \"When\" DESC LIMIT 200",
    },
];

/// Returns a question by its name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Question> {
    QUESTIONS.iter().find(|question| question.name == name)
}
