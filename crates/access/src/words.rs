//! The message catalogue: every sentence of our pages in every language we ship.
//!
//! A message may hold placeholders, `{name}`, which a page fills. Invariant: each message has a text in each language,
//! checked by the compiler, with the same placeholders, checked by a test.

use maud::{Markup, PreEscaped, Render, html};

/// A language of our pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    German,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::German];

    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// Returns the language's name in itself.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
        }
    }

    pub(crate) fn named(tag: &str) -> Option<Self> {
        let primary = tag.trim().split('-').next().unwrap_or_default();
        match primary.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "de" => Some(Self::German),
            _ => None,
        }
    }

    /// Chooses the first of `own` that we have, else what the browser asks for most, else English.
    pub(crate) fn choose(own: &[String], accepted: &str) -> Self {
        if let Some(found) = own.iter().find_map(|tag| Self::named(tag)) {
            return found;
        }
        let mut best = (0.0_f32, Self::English);
        for part in accepted.split(',').take(20) {
            let mut pieces = part.split(';');
            let Some(language) = pieces.next().and_then(Self::named) else { continue };
            let weight = pieces.find_map(|piece| piece.trim().strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }
}

macro_rules! messages {
    ($($name:ident $english:literal $german:literal;)*) => {
        /// One sentence or label.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Message { $($name,)* }

        impl Message {
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(crate) const fn english(self) -> &'static str {
                match self { $(Self::$name => $english,)* }
            }

            pub(crate) const fn text(self, language: Language) -> &'static str {
                match language {
                    Language::English => self.english(),
                    Language::German => match self { $(Self::$name => $german,)* },
                }
            }
        }
    };
}

impl Message {
    /// Writes the message as plain text with values in the place of its placeholders.
    pub(crate) fn plain(self, language: Language, values: &[(&str, &str)]) -> String {
        let fill = |piece| match piece {
            Piece::Text(text) => text,
            Piece::Placeholder(name) => {
                values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).unwrap_or_default()
            }
        };
        pieces(self.text(language)).into_iter().map(fill).collect()
    }

    /// Writes the message with values in the place of its placeholders; what is filled in is escaped.
    pub(crate) fn with(self, language: Language, values: &[(&str, &dyn Render)]) -> Markup {
        let pieces = pieces(self.text(language));
        html! {
            @for piece in pieces {
                @match piece {
                    Piece::Text(text) => (text),
                    Piece::Placeholder(name) => {
                        @if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
                            (PreEscaped(value.render().0))
                        }
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Text(&'static str),
    Placeholder(&'static str),
}

fn pieces(mut rest: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        pieces.extend([Piece::Text(before), Piece::Placeholder(name)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

messages! {
    Languages "Language" "Sprache";
    SignIn "Sign in" "Anmelden";
    SignInTo "To open {application}, say who you are." "Um {application} zu öffnen, sagen Sie, wer Sie sind.";
    Or "or" "oder";
    ContinueWith "Continue with" "Weiter mit";
    Email "E-mail address" "E-Mail-Adresse";
    Password "Password" "Passwort";
    WrongPassword "That address and password do not belong together." "Diese Adresse und dieses Passwort gehören nicht zusammen.";
    TooMany "Too many attempts. Wait a minute, then try again." "Zu viele Versuche. Warten Sie eine Minute und versuchen Sie es dann noch einmal.";
    NoProvider "There is no way to sign in to this application yet. Its administrator has to set up an identity provider." "Für diese Anwendung gibt es noch keine Anmeldung. Ihre Verwaltung muss einen Identitätsanbieter einrichten.";
    SignInHere "To see your applications, say who you are." "Um Ihre Anwendungen zu sehen, sagen Sie, wer Sie sind.";
    Welcome "Welcome" "Willkommen";
    WelcomeText "All your applications in one place." "Alle Ihre Anwendungen an einem Ort.";
    Applications "Your applications" "Ihre Anwendungen";
    OpenLauncher "Your applications" "Ihre Anwendungen";
    BackToApplications "Back to your applications" "Zurück zu Ihren Anwendungen";
    SkipToApplications "Skip to the applications" "Zu den Anwendungen springen";
    Account "Account" "Konto";
    SignOut "Sign out" "Abmelden";
    Search "Search applications" "Anwendungen suchen";
    Find "Search" "Suchen";
    Tags "Tags" "Schlagwörter";
    AllTags "All" "Alle";
    Bookmark "Link" "Link";
    NoApplications "No applications yet" "Noch keine Anwendungen";
    NoApplicationsText "None of the organisation's applications is open to you. If you expected one, ask its administrator." "Keine Anwendung der Organisation steht Ihnen offen. Fehlt Ihnen eine, fragen Sie deren Verwaltung.";
    NothingFound "Nothing found" "Nichts gefunden";
    ShowAll "Show all applications" "Alle Anwendungen zeigen";
    LauncherAsks "The policy that covers you asks for a justification or an approval, which is given at an application and not here. Ask your administrator." "Die Regel für Sie verlangt eine Begründung oder Freigabe, die es bei einer Anwendung gibt und nicht hier. Fragen Sie Ihre Verwaltung.";
    PinByMail "Get a code by mail" "Code per E-Mail erhalten";
    PinTitle "Sign in by mail" "Per E-Mail anmelden";
    PinText "To open {application}, type your address. You get a code of six digits by mail." "Um {application} zu öffnen, geben Sie Ihre Adresse an. Sie erhalten einen Code aus sechs Ziffern per E-Mail.";
    PinSend "Send me a code" "Code senden";
    NoAddress "That is not a mail address that a code can be sent to." "An diese Adresse lässt sich kein Code senden.";
    PinCheck "Look at your mail" "Sehen Sie in Ihre E-Mail";
    PinSent "If {address} may sign in here, a code has been sent to it. It works once, in this browser, for {minutes} minutes." "Falls sich {address} hier anmelden darf, wurde ein Code dorthin gesendet. Er gilt einmal, in diesem Browser, {minutes} Minuten lang.";
    WrongPin "That account does not have access, or the code is wrong, used or too old." "Dieses Konto hat keinen Zugang, oder der Code ist falsch, benutzt oder zu alt.";
    PinAgain "Send another code" "Neuen Code senden";
    PinOther "Use another address" "Andere Adresse benutzen";
    PinMailSubject "Your code for {organization}" "Ihr Code für {organization}";
    PinMail "Your code to sign in to {application} ({organization}):" "Ihr Code zur Anmeldung bei {application} ({organization}):";
    PinMailUse "Type it in the browser that asked for it. It works once, for {minutes} minutes. Nobody of {organization} ever asks you for it." "Geben Sie ihn in dem Browser ein, der ihn angefordert hat. Er gilt einmal, {minutes} Minuten lang. Niemand von {organization} fragt Sie je danach.";
    PinMailUnasked "If you did not ask for it, somebody typed your address. Do nothing: without the code nobody gets in." "Falls Sie ihn nicht angefordert haben, hat jemand Ihre Adresse eingegeben. Tun Sie nichts: Ohne den Code kommt niemand hinein.";
    Application "Application" "Anwendung";
    Denied "You have no access" "Sie haben keinen Zugang";
    DeniedText "You are signed in, and no policy of this application lets you in." "Sie sind angemeldet, und keine Regel dieser Anwendung lässt Sie ein.";
    DeniedNobody "This application is not open to you from here." "Diese Anwendung steht Ihnen von hier aus nicht offen.";
    SignedInAs "Signed in as" "Angemeldet als";
    OtherAccount "Sign in as somebody else" "Als jemand anderes anmelden";
    Reference "Reference for your help desk" "Kennung für Ihren Support";
    Justify "Why do you need this?" "Wofür brauchen Sie das?";
    Continue "Continue" "Weiter";
    SignOutEverywhere "Sign out everywhere" "Überall abmelden";
    SignOutEverywhereText "This ends your sessions at every application, in every browser and on every device, and those of agents that act for you." "Das beendet Ihre Sitzungen bei allen Anwendungen, in allen Browsern und auf allen Geräten, und die der Agenten, die für Sie handeln.";
    SignedOut "You are signed out" "Sie sind abgemeldet";
    SignedOutText "Your sessions at every application of this organisation have ended in this browser." "Ihre Sitzungen bei allen Anwendungen dieser Organisation sind in diesem Browser beendet.";
    SignOutProvider "Sign out of your identity provider too" "Auch beim Identitätsanbieter abmelden";
    SignedOutApp "Your session at this application has ended. You are still signed in to the organisation." "Ihre Sitzung bei dieser Anwendung ist beendet. Bei der Organisation sind Sie weiterhin angemeldet.";
    SignInAgain "Sign in again" "Neu anmelden";
    NothingHere "There is nothing here" "Hier ist nichts";
    NothingHereText "No application is published at this address." "Unter dieser Adresse ist keine Anwendung veröffentlicht.";
    BadRequest "The request cannot be read" "Die Anfrage ist nicht lesbar";
    BadAddress "This address cannot be opened" "Diese Adresse lässt sich nicht öffnen";
    BadAddressText "Its path is written in a way that applications read differently. Open the application from its start page." "Ihr Pfad ist so geschrieben, dass Anwendungen ihn verschieden lesen. Öffnen Sie die Anwendung von ihrer Startseite aus.";
    Stale "Start again" "Bitte neu beginnen";
    StaleText "This sign-in was not started in this browser, was used already, or took too long. Open the application again." "Diese Anmeldung wurde nicht in diesem Browser begonnen, schon benutzt oder hat zu lange gedauert. Öffnen Sie die Anwendung noch einmal.";
    OpenApp "Open the application" "Anwendung öffnen";
    ProviderFailed "The sign-in did not work" "Die Anmeldung hat nicht geklappt";
    ProviderFailedText "The identity provider did not answer, or its answer cannot be trusted. Try again; if it stays, tell your administrator." "Der Identitätsanbieter hat nicht geantwortet, oder seiner Antwort ist nicht zu trauen. Versuchen Sie es noch einmal; bleibt es dabei, sagen Sie es Ihrer Verwaltung.";
    ProviderRefused "The identity provider did not sign you in. Try again, or choose another way." "Der Identitätsanbieter hat Sie nicht angemeldet. Versuchen Sie es noch einmal oder auf anderem Weg.";
    NoEmail "The identity provider names no verified e-mail address for you, so we cannot tell who you are." "Der Identitätsanbieter nennt für Sie keine bestätigte E-Mail-Adresse; wir wissen daher nicht, wer Sie sind.";
    OtherPerson "You passed this step as somebody else than the one before. Start again with one account." "Sie haben diesen Schritt als jemand anderes bestanden als den davor. Beginnen Sie neu mit einem Konto.";
    Deactivated "Your access has been ended. Ask your administrator." "Ihr Zugang wurde beendet. Fragen Sie Ihre Verwaltung.";
    Unavailable "Signing in does not work at the moment" "Anmelden geht gerade nicht";
    UnavailableText "What is kept about sign-ins cannot be reached, so nobody new is let in. Applications that you have open go on working. Try again in a moment." "Was über Anmeldungen aufbewahrt wird, ist nicht erreichbar; daher wird niemand neu eingelassen. Geöffnete Anwendungen gehen weiter. Versuchen Sie es gleich noch einmal.";
    Factor "Prove that it is you" "Bestätigen Sie, dass Sie es sind";
    FactorText "This application asks for a second factor." "Diese Anwendung verlangt einen zweiten Faktor.";
    FactorCodeHint "Open your authenticator app and type the code it shows." "Öffnen Sie Ihre Authenticator-App und geben Sie den angezeigten Code ein.";
    FactorCode "Code of six digits" "Code aus sechs Ziffern";
    FactorLost "I have none of these: use a recovery code" "Ich habe nichts davon: Wiederherstellungscode benutzen";
    FactorWrong "The code is not right, or was used. Wait for the next one." "Der Code stimmt nicht oder wurde schon benutzt. Warten Sie auf den nächsten.";
    FactorPause "Too many wrong codes. Wait, then try again." "Zu viele falsche Codes. Warten Sie und versuchen Sie es dann noch einmal.";
    FactorNew "Add a way to prove it is you" "Einen Nachweis hinzufügen";
    FactorNoMore "There is nothing more to add." "Es gibt nichts weiter hinzuzufügen.";
    AuthenticatorApp "Authenticator app" "Authenticator-App";
    AuthenticatorAppText "An app on your phone shows a code of six digits." "Eine App auf Ihrem Telefon zeigt einen Code aus sechs Ziffern.";
    Biometrics "this device" "dieses Gerät";
    BiometricsText "Prove it is you with the fingerprint, face or PIN that unlocks this device." "Weisen Sie sich mit Fingerabdruck, Gesicht oder PIN aus, womit Sie dieses Gerät entsperren.";
    SecurityKey "security key" "Sicherheitsschlüssel";
    SecurityKeyText "A key that you plug in or hold to the device." "Ein Schlüssel, den Sie einstecken oder an das Gerät halten.";
    Passkey "passkey" "Passkey";
    PasskeyText "Sign in without a password the next time: with this device, your phone or a key." "Melden Sie sich künftig ohne Passwort an: mit diesem Gerät, Ihrem Telefon oder einem Schlüssel.";
    PasskeySignIn "Sign in with a passkey" "Mit einem Passkey anmelden";
    PasskeyRefused "This passkey does not sign you in here. Try again, or choose another way." "Dieser Passkey meldet Sie hier nicht an. Versuchen Sie es noch einmal oder auf anderem Weg.";
    KeyUse "Use" "Benutzen:";
    KeyAdd "Add" "Hinzufügen:";
    KeyName "Name, to tell it from others" "Name, um es zu unterscheiden";
    KeySince "since" "seit";
    KeyUsed "last used" "zuletzt benutzt";
    KeyScript "Security keys, fingerprints and passkeys need JavaScript, which this browser does not run here." "Sicherheitsschlüssel, Fingerabdrücke und Passkeys brauchen JavaScript, das dieser Browser hier nicht ausführt.";
    KeyFailed "That did not work: it was cancelled, took too long, or is not one that is asked for. Try again." "Das hat nicht geklappt: abgebrochen, zu langsam oder nicht das Gefragte. Versuchen Sie es noch einmal.";
    KeyKnown "This one is set up already, or you have as many as one can have." "Das ist schon eingerichtet, oder Sie haben bereits so viele wie möglich.";
    KeyStale "That took too long, or was used already. Try again." "Das hat zu lange gedauert oder wurde schon benutzt. Versuchen Sie es noch einmal.";
    KeyUnverified "The authenticator did not check that it is you. Set up its PIN, fingerprint or face, then try again." "Das Gerät hat nicht geprüft, dass Sie es sind. Richten Sie PIN, Fingerabdruck oder Gesicht ein und versuchen Sie es dann noch einmal.";
    KeyCloned "There may be a copy of this key, so it is refused. Tell your administrator." "Von diesem Schlüssel gibt es vielleicht eine Kopie; er wird abgelehnt. Sagen Sie es Ihrer Verwaltung.";
    KeyModel "Keys of this model are not allowed here." "Schlüssel dieses Modells sind hier nicht zugelassen.";
    KeyWrongKind "That is another kind of authenticator than was asked for." "Das ist eine andere Art als die gefragte.";
    KeyRefused "The authenticator's answer is not valid here. Try again." "Die Antwort gilt hier nicht. Versuchen Sie es noch einmal.";
    Remove "Remove" "Entfernen";
    FactorAdd "Add an authenticator app" "Authenticator-App hinzufügen";
    FactorAddText "Scan the picture with an authenticator app, or type the secret into it. Then type the code it shows." "Scannen Sie das Bild mit einer Authenticator-App oder tippen Sie das Geheimnis dort ein. Geben Sie dann den angezeigten Code ein.";
    FactorPicture "The secret as a QR code; the text below says the same" "Das Geheimnis als QR-Code; der Text darunter sagt dasselbe";
    FactorSecret "Secret:" "Geheimnis:";
    Factors "Your second factors" "Ihre zweiten Faktoren";
    FactorNone "You have no second factor yet." "Sie haben noch keinen zweiten Faktor.";
    FactorGuard "To change anything here, prove a factor that you have. That holds for ten minutes." "Um hier etwas zu ändern, weisen Sie einen Ihrer Faktoren nach. Das gilt zehn Minuten.";
    RecoveryCode "Or a recovery code" "Oder ein Wiederherstellungscode";
    RecoveryWrong "The recovery code is not right, or was used." "Der Wiederherstellungscode stimmt nicht oder wurde schon benutzt.";
    RecoveryCodes "Your recovery codes" "Ihre Wiederherstellungscodes";
    RecoveryText "Print them or keep them in a safe place; they are shown only now. Each works once, to change your factors when they are gone." "Drucken Sie sie aus oder verwahren Sie sie sicher; sie werden nur jetzt gezeigt. Jeder gilt einmal, um Ihre Faktoren zu ändern, wenn sie weg sind.";
    RecoveryLeft "Recovery codes left:" "Übrige Wiederherstellungscodes:";
    RecoveryRenew "Make new recovery codes" "Neue Wiederherstellungscodes erzeugen";
    ApprovalAsk "Ask for access" "Zugang erbitten";
    ApprovalAskText "You get in once others agree. They are asked by mail." "Sie werden eingelassen, sobald andere zustimmen. Diese werden per E-Mail gefragt.";
    ApprovalReason "Why do you need it?" "Wofür brauchen Sie den Zugang?";
    ApprovalReasonNeeded "Say why; it is what those who are asked decide by." "Sagen Sie, wofür; danach entscheiden die Gefragten.";
    ApprovalSend "Ask" "Anfragen";
    ApprovalWaits "Waiting for an answer" "Warten auf Antwort";
    ApprovalWaitsText "Those who can approve have been asked. Answers still missing: {missing}. This page looks again by itself, and goes on once they agree." "Wer freigeben kann, wurde gefragt. Fehlende Antworten: {missing}. Diese Seite sieht selbst wieder nach und führt weiter, sobald zugestimmt ist.";
    ApprovalLook "Look again" "Wieder nachsehen";
    ApprovalRefused "Your request was refused" "Ihre Anfrage wurde abgelehnt";
    ApprovalRefusedText "That holds for this sign-in. If you still need access, talk to those who decide." "Das gilt für diese Anmeldung. Brauchen Sie den Zugang dennoch, sprechen Sie mit denen, die entscheiden.";
    ApprovalNobody "Nobody can approve this: the policy names nobody besides you, or too many people. Ask an administrator." "Niemand kann das freigeben: Die Regel nennt außer Ihnen niemanden, oder zu viele. Fragen Sie Ihre Verwaltung.";
    ApprovalMany "You asked for more than others have answered yet. Wait for their answers." "Sie haben mehr erbeten, als bisher beantwortet ist. Warten Sie die Antworten ab.";
    ApprovalMailSubject "{email} asks for access to {application}" "{email} bittet um Zugang zu {application}";
    ApprovalMail "{email} asks for access to {application} ({organization})." "{email} bittet um Zugang zu {application} ({organization}).";
    ApprovalMailReason "Why: {reason}" "Wofür: {reason}";
    ApprovalMailLink "Look at it and answer:" "Ansehen und antworten:";
    ApprovalMailUse "The link works for you alone, after you sign in, until {until}." "Der Link gilt nur für Sie, nach Ihrer Anmeldung, bis {until}.";
    Approve "Somebody asks for access" "Jemand bittet um Zugang";
    ApproveText "Grant it only if you know why they need it. It opens this application to them until the time is over or they sign out." "Stimmen Sie nur zu, wenn Sie wissen, wofür. Das öffnet diese Anwendung, bis die Zeit um ist oder die Person sich abmeldet.";
    ApproveWho "Who" "Wer";
    ApproveWhy "Why" "Wofür";
    ApproveNoReason "no reason was given" "ohne Begründung";
    ApproveSince "Asked" "Gefragt";
    ApproveLength "For how long" "Für wie lange";
    ApproveGrant "Grant access" "Zugang gewähren";
    ApproveRefuse "Refuse" "Ablehnen";
    ApproveGiven "You agreed. Answers still missing: {missing}." "Sie haben zugestimmt. Fehlende Antworten: {missing}.";
    ApproveGranted "Granted until {until}." "Gewährt bis {until}.";
    ApproveRefused "The request was refused." "Die Anfrage wurde abgelehnt.";
    ApproveOver "This request is over: it was withdrawn, or its time has passed." "Diese Anfrage ist vorbei: Sie wurde zurückgezogen, oder ihre Zeit ist um.";
    ApproveLink "This link approves nothing for you. It works only for the person it was mailed to; sign in as them." "Dieser Link gibt für Sie nichts frei. Er gilt nur für die Person, an die er ging; melden Sie sich als diese an.";
    ApproveBadLength "Access can be granted for one minute to 24 hours." "Zugang lässt sich für eine Minute bis 24 Stunden gewähren.";
    Consent "Let an application act for you?" "Darf eine Anwendung für Sie handeln?";
    ConsentNameless "An application without a name" "Eine Anwendung ohne Namen";
    ConsentAsks "asks to use" "möchte benutzen:";
    ConsentAs "As" "Als";
    ConsentFor "At" "Unter";
    ConsentGets "It may" "Sie darf";
    ConsentAll "do everything there that you may do" "dort alles tun, was Sie dürfen";
    ConsentLasts "For" "Für";
    ConsentSentTo "You are sent to" "Es geht weiter zu";
    ConsentVouched "Described by" "Beschrieben von";
    ConsentOwnMachine "It says itself who it is, and runs on your own machine. Allow it only if you have just started it." "Wer sie ist, sagt sie selbst; sie läuft auf Ihrem eigenen Gerät. Erlauben Sie es nur, wenn Sie sie gerade gestartet haben.";
    ConsentUnverified "It says itself who it is; the address you are sent to is what counts. Allow it only if you know that address." "Wer sie ist, sagt sie selbst; was zählt, ist die Adresse, zu der es weitergeht. Erlauben Sie es nur, wenn Sie diese Adresse kennen.";
    ConsentAllow "Allow" "Erlauben";
    ConsentDeny "Refuse" "Ablehnen";
    Minutes "minutes" "Minuten";
    Hours "hours" "Stunden";
    Days "days" "Tage";
    ClientProblem "The application cannot be connected" "Die Anwendung lässt sich nicht verbinden";
    ClientProblemText "It sent a request that is not in order, so you are not sent back to it. Its makers can use this:" "Sie hat eine Anfrage geschickt, die nicht in Ordnung ist; daher geht es nicht zu ihr zurück. Ihren Entwicklern hilft dies:";
    NoOrigin "This application has no origin yet" "Diese Anwendung hat noch kein Ziel";
    OriginFailed "The application does not answer" "Die Anwendung antwortet nicht";
    OriginText "You are let in; the application behind this address cannot be reached. Try again, or tell its owner." "Sie sind eingelassen; die Anwendung hinter dieser Adresse ist nicht erreichbar. Versuchen Sie es noch einmal oder sagen Sie es ihrer Verwaltung.";
    Failed "Something went wrong here" "Hier ist etwas schiefgegangen";
    FailedText "It is not your doing. Try again; if it stays, give your help desk the reference below." "Es liegt nicht an Ihnen. Versuchen Sie es noch einmal; bleibt es dabei, nennen Sie Ihrem Support die Kennung unten.";
}

#[cfg(test)]
mod tests {
    use maud::Render;

    use super::{Language, Message, Piece, pieces};

    fn placeholders(text: &'static str) -> Vec<&'static str> {
        let found = pieces(text).into_iter().filter_map(|piece| match piece {
            Piece::Placeholder(name) => Some(name),
            Piece::Text(_) => None,
        });
        let mut found: Vec<_> = found.collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn every_message_has_a_text_with_the_same_placeholders_in_every_language() {
        for message in Message::ALL {
            let wanted = placeholders(message.english());
            for language in Language::ALL {
                let text = message.text(language);
                assert!(!text.trim().is_empty(), "{message:?} {language:?}");
                assert_eq!(placeholders(text), wanted, "{message:?} {language:?}");
                // A brace that is left is a placeholder that was mistyped.
                let braces = text.matches(['{', '}']).count();
                assert_eq!(braces, 2 * wanted.len(), "{message:?} {language:?}");
            }
        }
    }

    #[test]
    fn what_is_filled_in_is_escaped() {
        let name: &dyn Render = &"<b>Wiki</b>";
        let text = Message::SignInTo.with(Language::English, &[("application", name)]).0;
        assert_eq!(text, "To open &lt;b&gt;Wiki&lt;/b&gt;, say who you are.");
        assert!(Message::SignInTo.with(Language::German, &[]).0.starts_with("Um  zu öffnen"));
    }

    #[test]
    fn the_first_language_we_have_is_chosen() {
        for (own, accepted, expected) in [
            (&[][..], "", Language::English),
            (&[][..], "fr, de-AT;q=0.8, en;q=0.5", Language::German),
            (&[][..], "de;q=0.1, en", Language::English),
            (&["fr".to_owned(), "de".to_owned()][..], "en", Language::German),
            (&[][..], "de;q=x", Language::German),
        ] {
            assert_eq!(Language::choose(own, accepted), expected, "{accepted}");
        }
    }
}
