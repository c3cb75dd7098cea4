import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Security;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Collections;
import java.util.HexFormat;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/**
 * Judges for the tests: what does Java see in a keystore, what does it trust, and can the keys still be used?
 *
 * <p>Reads questions from standard input, a line each, with tabs between the words; one start of Java answers all.
 * "list FILE PASSWORD KEYPASSWORD" (an empty password is "", none is "-") prints the entries and the anchors;
 * "make FILE TYPE PASSWORD CERTIFICATES ENCRYPTION MAC" writes a store of trusted certificates. "." ends an answer.
 */
public final class KeyStores {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    public static void main(String[] words) throws Exception {
        BufferedReader questions = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = questions.readLine(); line != null; line = questions.readLine()) {
            String[] parts = line.split("\t", -1);
            try {
                if (parts[0].equals("list")) {
                    list(parts[1], password(parts[2]), password(parts[3]));
                } else {
                    make(parts[1], parts[2], password(parts[3]), parts[4], parts[5], parts[6]);
                }
            } catch (Exception e) {
                OUT.println("error\t" + e.toString().replaceAll("\\s+", " "));
            }
            OUT.println(".");
        }
    }

    private static void list(String file, char[] password, char[] keyPassword) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        try (InputStream in = new FileInputStream(file)) {
            store.load(in, password);
        }
        for (String alias : Collections.list(store.aliases())) {
            if (store.isCertificateEntry(alias)) {
                OUT.println("trusted\t" + alias + "\t" + sha256(store.getCertificate(alias)));
            } else if (store.isKeyEntry(alias)) {
                OUT.println("key\t" + alias + "\t" + use(store, alias, keyPassword));
            }
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        for (TrustManager manager : trust.getTrustManagers()) {
            for (X509Certificate anchor : ((X509TrustManager) manager).getAcceptedIssuers()) {
                OUT.println("anchor\t" + sha256(anchor));
            }
        }
    }

    private static String use(KeyStore store, String alias, char[] password) {
        try {
            if (!(store.getKey(alias, password) instanceof PrivateKey key)) {
                return "secret";
            }
            PublicKey mate = store.getCertificate(alias).getPublicKey();
            Signature signature = Signature.getInstance(key.getAlgorithm().equals("RSA") ? "SHA256withRSA" : "SHA256withECDSA");
            signature.initSign(key);
            signature.update(alias.getBytes(StandardCharsets.UTF_8));
            byte[] signed = signature.sign();
            signature.initVerify(mate);
            signature.update(alias.getBytes(StandardCharsets.UTF_8));
            return signature.verify(signed) ? "signs" : "does not sign";
        } catch (Exception e) {
            return e.toString().replaceAll("\\s+", " ");
        }
    }

    private static void make(String file, String type, char[] password, String pem, String encryption, String mac)
            throws Exception {
        if (!encryption.isEmpty()) {
            Security.setProperty("keystore.pkcs12.certProtectionAlgorithm", encryption);
            Security.setProperty("keystore.pkcs12.macAlgorithm", mac);
        }
        KeyStore store = KeyStore.getInstance(type);
        store.load(null, null);
        int number = 0;
        try (InputStream in = new FileInputStream(pem)) {
            for (Certificate c : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                store.setCertificateEntry("made-by-java-" + number++, c);
            }
        }
        try (OutputStream out = new FileOutputStream(file)) {
            store.store(out, password);
        }
    }

    private static char[] password(String word) {
        return word.equals("-") ? null : word.toCharArray();
    }

    private static String sha256(Certificate c) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(c.getEncoded()));
    }
}
